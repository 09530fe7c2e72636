"""The exact solver, where a limit is one sum of whole numbers that each group adds to alone.

That is so for channels always, and for multiply-adds and parameters where no two prunable groups meet in a weight,
as when every second layer is kept whole. Then the choice is a multiple-choice knapsack, and a dynamic programme over
what is saved solves it (Kellerer, Pferschy and Pisinger 2004, Knapsack Problems, section 11.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.pruning.greedy import SLACK, Bound
from edgeprune.pruning.levels import Levels
from edgeprune.pruning.quantity import Counts

MOST_WORK = 3e8
"""Table entries times levels: about a second."""


def solve_exactly(levels: Levels, bounds: Sequence[Bound]) -> Counts | None:
    """Return the levels that keep the most score, or None where that is no separable problem of a small size."""
    if len(bounds) != 1 or not bounds[0].quantity.separable:
        return None
    saved, need = _whole_numbers(levels, bounds[0])
    if saved is None or need <= 0 or (need + 1) * float(levels.last.sum() + len(saved)) > MOST_WORK:
        return None
    amount = np.arange(need + 1)
    least = np.where(amount == 0, 0.0, np.inf)  # the least score lost to save at least so much
    chosen = np.zeros((len(saved), need + 1), dtype=np.int32)
    for group, steps in enumerate(saved):
        before, least = least, np.full(need + 1, np.inf)
        for level in range(int(levels.last[group]) + 1):
            candidate = before[np.maximum(amount - steps[level], 0)] + levels.lost[group, level]
            better = candidate < least
            least[better], chosen[group, better] = candidate[better], level
    best, left = np.zeros_like(levels.last), need
    for group in reversed(range(len(saved))):
        best[group] = chosen[group, left]
        left = max(0, left - int(saved[group, best[group]]))
    return best


def _whole_numbers(levels: Levels, bound: Bound) -> tuple[NDArray[np.int64] | None, int]:
    """What each level saves, `[groups, levels]`, and what must be saved, in their greatest common measure."""
    whole = levels.kept[:, 0]
    saved = np.stack([bound.quantity.saved(whole, whole - kept)[0] for kept in levels.kept.T], axis=1)
    counted = np.rint(saved).astype(np.int64)
    if not np.array_equal(counted, saved):
        return None, 0
    measure = max(1, int(np.gcd.reduce(counted, axis=None)))
    need = float(bound.quantity.at(whole)[0]) - bound.limit * (1 + SLACK)
    return counted // measure, int(np.ceil(need / measure))
