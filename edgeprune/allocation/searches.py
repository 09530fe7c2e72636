"""Random search and the cross-entropy method, which PPO is held against at equal trials.

The cross-entropy method (Rubinstein 1999; de Boer et al. 2005, section 3) draws from a normal distribution with its
own deviation per part, and refits both to the best of each round.
"""

from __future__ import annotations

import math

import numpy as np

from edgeprune.allocation.problem import Problem
from edgeprune.allocation.trials import Trials
from edgeprune.pruning.quantity import Floats

ELITE = 0.25
SMOOTHING = 0.8
"""Of a round's fit; the rest stays as it was, so that few draws do not end the search."""
LEAST_SPREAD = 0.05


def random_search(problem: Problem, trials: Trials, seed: int) -> None:
    """Draw around the base until the trials are spent."""
    generator = np.random.default_rng(seed)
    while True:
        trials("sample", [problem.kept(moves) for moves in _draw(generator, problem, round_size(trials.most))])


def cross_entropy(problem: Problem, trials: Trials, seed: int) -> None:
    """Draw, fit, draw again until the trials are spent."""
    generator, size = np.random.default_rng(seed), round_size(trials.most)
    middle, spread = np.zeros(len(problem.base)), np.full(len(problem.base), problem.spread)
    while True:
        drawn = middle + spread * generator.standard_normal((size, len(middle)))
        rewards = trials("sample", [problem.kept(moves) for moves in drawn])
        best = drawn[np.argsort(-np.array(rewards), kind="stable")[: max(2, math.ceil(ELITE * size))]]
        middle = SMOOTHING * best.mean(0) + (1 - SMOOTHING) * middle
        spread = np.maximum(SMOOTHING * best.std(0) + (1 - SMOOTHING) * spread, LEAST_SPREAD)
        trials("mean", [problem.kept(middle)])


def round_size(most: int) -> int:
    """Trials between two changes of a search: about as many as there are changes."""
    return max(4, min(32, round(math.sqrt(most))))


def _draw(generator: np.random.Generator, problem: Problem, count: int) -> Floats:
    drawn: Floats = problem.spread * generator.standard_normal((count, len(problem.base)))
    return drawn
