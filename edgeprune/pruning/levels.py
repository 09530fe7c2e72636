"""Levels: the widths that each group may be cut to, and the score that is lost at each.

Within a group the lowest scores go first, so a choice is one level per group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.model.groups import Group
from edgeprune.pruning.quantity import Counts, Floats
from edgeprune.pruning.score import Scores


@dataclass(frozen=True)
class Limits:
    """`multiple`: widths are cut to multiples of it. `max_sparsity`: largest share of a group that may go."""

    multiple: int
    max_sparsity: float


@dataclass(frozen=True)
class Levels:
    """Tables `[groups, levels]`; level 0 is whole, and a group's last level fills the rest of its row."""

    kept: Counts
    lost: Floats
    last: Counts
    """`[groups]`"""

    def counts(self, level: Counts) -> Counts:
        found: Counts = self.kept[np.arange(len(level)), level]
        return found

    def losses(self, level: Counts) -> Floats:
        found: Floats = self.lost[np.arange(len(level)), level]
        return found


def levels(groups: list[Group], scores: Scores, limits: Limits, whole: frozenset[str] = frozenset()) -> Levels:
    """Lay out the levels of all groups; those named in `whole` have only one."""
    ladders = [np.array([len(group.units)]) if group.name in whole else _ladder(group, limits) for group in groups]
    ascending = [np.sort(scores.value[group.name].numpy()) for group in groups]
    return table(ladders, ascending)


def table(ladders: list[NDArray[np.int64]], ascending: list[Floats]) -> Levels:
    """The table of kept counts, descending, of groups with these scores per unit, ascending."""
    longest = max(len(ladder) for ladder in ladders)
    kept = np.stack([np.pad(ladder, (0, longest - len(ladder)), mode="edge") for ladder in ladders])
    lost = [
        np.concatenate([[0.0], np.cumsum(scores)])[len(scores) - row]
        for scores, row in zip(ascending, kept, strict=True)
    ]
    return Levels(kept, np.stack(lost), np.array([len(ladder) - 1 for ladder in ladders]))


def _ladder(group: Group, limits: Limits) -> NDArray[np.int64]:
    total = len(group.units)
    step = _step(group, limits.multiple)
    floor = max(1, math.ceil(total * (1 - limits.max_sparsity)))
    lower = [n for n in range(total - total % step, 0, -step) if floor <= n < total]
    return np.array([total, *lower], dtype=np.int64)


def _step(group: Group, multiple: int) -> int:
    """The fewest units whose channels are a multiple on every layer's output axis that holds the group.

    A group no wider than the multiple could not be cut at all; it is cut by half the multiple, but not below
    8 channels, under which no runtime's INT8 kernels go.
    """
    step = 1
    for weight in group.producers:
        width = output_width(group, weight)
        narrow = width * len(group.units) <= multiple
        own = max(min(8, multiple), multiple // 2) if narrow else multiple
        step = math.lcm(step, own // math.gcd(own, width))
    return step


def output_width(group: Group, weight: str) -> int:
    """How many output channels of a layer one unit is."""
    return group.width((weight, 0))
