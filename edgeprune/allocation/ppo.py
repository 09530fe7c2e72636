"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347), by stable-baselines3.

A round is as many whole episodes as there are trials between two updates; after each the policy's mean, without the
noise that it explores with, is a trial too. Rewards come at the end alone, so returns are not discounted, and
observations are normalised by their running statistics.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from edgeprune.allocation.environment import REACH, AllocationEnv
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.searches import round_size
from edgeprune.allocation.together import Together
from edgeprune.allocation.trials import Trials

LEARNING_RATE, EPOCHS, CLIP, ENTROPY, MINIBATCHES = 3e-3, 8, 0.2, 1e-3, 4
WIDTHS = (64, 64)
ENDLESS = 10**12


def ppo(problem: Problem, trials: Trials, seed: int) -> None:
    """Learn until the trials are spent."""
    with _own_randomness():
        parts, episodes = len(problem.base), round_size(trials.most)
        together = VecNormalize(Together(problem, trials, episodes), norm_reward=False, gamma=1.0)
        agent = PPO(
            "MlpPolicy",
            together,
            learning_rate=LEARNING_RATE,
            n_steps=parts,
            batch_size=max(2, _minibatch(parts * episodes)),
            n_epochs=EPOCHS,
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=CLIP,
            ent_coef=ENTROPY,
            policy_kwargs={"net_arch": list(WIDTHS), "log_std_init": math.log(problem.spread / REACH)},
            seed=seed,
            device="cpu",
        )
        agent.learn(ENDLESS, callback=_Mean(AllocationEnv(problem, trials), trials))


def _minibatch(steps: int) -> int:
    """A round in at most `MINIBATCHES` equal parts: stable-baselines3 would end with a short one."""
    return steps // next(count for count in range(MINIBATCHES, 0, -1) if steps % count == 0)


class _Mean(BaseCallback):
    """Before every round but the first, one episode of the policy's mean."""

    def __init__(self, environment: AllocationEnv, trials: Trials) -> None:
        super().__init__()
        self._environment, self._trials = environment, trials

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 0:
            return
        normal = self.training_env
        assert isinstance(normal, VecNormalize)
        observation, kept = self._environment.reset()[0], None
        while kept is None:
            action, _ = self.model.predict(normal.normalize_obs(observation), deterministic=True)
            kept = self._environment.decide(action)
            observation = self._environment.observe()
        self._environment.settle(self._trials("mean", [kept])[0])


@contextmanager
def _own_randomness() -> Iterator[None]:
    """stable-baselines3 seeds the global generators: they are given back as they were."""
    plain, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)
