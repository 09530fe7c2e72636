"""Allocators by name, and a search from its first trial to the allocation that is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeprune.allocation.bench import Judge
from edgeprune.allocation.parts import Kept
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.searches import cross_entropy, random_search
from edgeprune.allocation.trials import REWARDS, Spent, Trial, Trials
from edgeprune.spec.methods import AllocatorName

Ended = Literal["done", "time", "interrupted"]
FINALISTS = 10
"""Of a search's trials, judged again on fresh images: the best of many is partly the luckiest."""


@dataclass(frozen=True)
class Finalist:
    """An allocation, its reward in the search, and on fresh images."""

    kept: Kept
    reward: float
    fresh: float


@dataclass(frozen=True)
class Found:
    """What a search found; without trials where a rule said it. `seconds`: all of them; `judging`: of the trials."""

    kept: Kept
    ended: Ended
    trials: tuple[Trial, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    seconds: float = 0.0
    judging: float = 0.0


def search(name: AllocatorName, problem: Problem, trials: Trials, fresh: Judge, seed: int) -> Found:
    """Search until the trials are spent, the time is up, or the user interrupts, and judge the best again.

    Raises:
        KeyboardInterrupt: before the first trial was done.
    """
    ended: Ended = "done"
    try:
        trials("base", [problem.kept(0 * problem.base)])
        SEARCHERS[name](problem, trials, seed)
    except Spent:
        ended = "done" if trials.left == 0 else "time"
    except KeyboardInterrupt:
        if not trials.done:
            raise
        ended = "interrupted"
    done = tuple(trials.done)
    finalists = _judged_again(done, trials, fresh)
    best = max(finalists, key=lambda finalist: finalist.fresh)
    return Found(best.kept, ended, done, finalists, trials.spent_seconds, sum(trial.seconds for trial in done))


def _judged_again(done: tuple[Trial, ...], trials: Trials, fresh: Judge) -> tuple[Finalist, ...]:
    """The best trials, the last policy's mean, and the base, which so is never fallen short of for nothing."""
    ranked = sorted({trial.kept: trial for trial in done}.values(), key=lambda trial: -trial.reward)
    means = [trial for trial in done if trial.kind == "mean"]
    chosen = {trial.kept: trial for trial in [done[0], *ranked[:FINALISTS], *means[-1:]]}
    verdicts = fresh(list(chosen))
    score = REWARDS[trials.reward]
    return tuple(
        Finalist(kept, trial.reward, score(verdict, trials.lot.sparsity(kept)))
        for (kept, trial), verdict in zip(chosen.items(), verdicts, strict=True)
    )


Searcher = Callable[[Problem, Trials, int], None]


def _ppo(problem: Problem, trials: Trials, seed: int) -> None:
    from edgeprune.allocation.ppo import ppo  # which needs the extra `rl`

    ppo(problem, trials, seed)


SEARCHERS: dict[AllocatorName, Searcher] = {"ppo": _ppo, "cem": cross_entropy, "random": random_search}
