"""The environment: an episode is one allocation, a step says how much of one part stays.

The agent's action shifts the logit of the share that a part keeps, away from the base, so that an agent that does
nothing has the base. After the last part one common shift of all logits meets the budget, and the reward is what the
allocation is worth; there is none before (layer by layer with a reward at the end, as He et al. 2018, arXiv 1802.03494;
there the current layer is clipped to what the budget leaves, here no part pays for its place in the order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgeprune.allocation.features import static_features
from edgeprune.allocation.parts import Kept
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.trials import Kind, Trials

REACH = 3.0
"""Logits that an action of 1 shifts by."""
FARTHEST = 5.0
"""Bound of an observation; the facts lie in 0..1, and what is spent near it."""
Observation = NDArray[np.float32]


class AllocationEnv(gymnasium.Env[Observation, Observation]):
    """One episode after another of a problem, judged by trials."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, problem: Problem, trials: Trials) -> None:
        self._problem, self._trials = problem, trials
        self._facts = static_features(problem.lot, problem.base)
        weights = (problem.lot.units * problem.lot.sizes).astype(np.float64)
        self._share = weights / weights.sum()
        self._kept = self._share / (1 + np.exp(-problem.base))
        self._moves: list[float] = []
        self._last = 0.0
        size = self._facts.shape[1] + 5
        self.observation_space = spaces.Box(-FARTHEST, FARTHEST, (size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Any]:
        super().reset(seed=seed, options=options)
        self._moves = []
        return self.observe(), {}

    def step(self, action: Observation) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        kept = self.decide(action)
        reward = self.settle(self._trials("sample", [kept])[0]) if kept is not None else 0.0
        return self.observe(), reward, kept is not None, False, {}

    def decide(self, action: Observation) -> Kept | None:
        """Take an action; after the last part, the allocation that is to be judged."""
        self._moves.append(REACH * float(np.clip(np.asarray(action).reshape(-1)[0], -1, 1)))
        return self._problem.kept(np.array(self._moves)) if len(self._moves) == len(self._facts) else None

    def settle(self, reward: float) -> float:
        """Hear what the episode was worth."""
        self._last = reward
        return reward

    def observe(self) -> Observation:
        """Of the next part (after the last, of that one): its facts, and how the episode stands."""
        done = len(self._moves)
        decided, spent = float(self._share[:done].sum()), self._spent(self._moves)
        whole = float(self._kept.sum())
        state = [decided, spent / whole - decided, 1 - spent / whole, (self._moves or [0.0])[-1] / REACH, self._last]
        facts = self._facts[min(done, len(self._facts) - 1)]
        found: Observation = np.clip(np.concatenate([facts, state]), -FARTHEST, FARTHEST).astype(np.float32)
        return found

    def _spent(self, moves: Sequence[float]) -> float:
        """The share of all weights that the parts so far would keep without a common shift."""
        kept = self._share[: len(moves)] / (1 + np.exp(-(self._problem.base[: len(moves)] + np.array(moves))))
        return float(kept.sum())


def judge_all(trials: Trials, kind: Kind, environments: Sequence[AllocationEnv], kept: Sequence[Kept]) -> list[float]:
    """Judge the episodes of several environments at once."""
    rewards = trials(kind, kept)
    return [environment.settle(reward) for environment, reward in zip(environments, rewards, strict=True)]
