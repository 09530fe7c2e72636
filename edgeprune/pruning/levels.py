"""Levels: the widths that each group may be cut to, and what is lost at each.

Within a group the lowest scores go first, so a choice is one level per group. What is lost is the sum of the scores,
or what was measured of such cuts, where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeprune.model.groups import Group
from edgeprune.pruning.layer_rules import owner, rule_of
from edgeprune.pruning.quantity import Counts, Floats
from edgeprune.pruning.score import Scores
from edgeprune.spec.recipe import LayerRule


@dataclass(frozen=True)
class Limits:
    """`multiple`: widths are cut to multiples of it. `max_sparsity`: largest share of a group that may go.

    `rules` say otherwise for the layers that they match; where layers share a group, the strictest holds. `floors`:
    group name -> units that stay in any case; a network that was cut before may lose no more than as a whole.
    """

    multiple: int
    max_sparsity: float
    rules: tuple[LayerRule, ...] = ()
    floors: Mapping[str, int] = field(default_factory=dict)


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


def floors(groups: list[Group], limits: Limits) -> dict[str, int]:
    """Group name -> the narrowest that the limits allow, for cuts after this one."""
    return {group.name: int(ladder(group, limits)[-1]) for group in groups}


def levels(groups: list[Group], scores: Scores, limits: Limits, whole: frozenset[str] = frozenset()) -> Levels:
    """Lay out the levels of all groups; those named in `whole` have only one."""
    ladders = [np.array([len(group.units)]) if group.name in whole else ladder(group, limits) for group in groups]
    lost = [_lost(scores, group.name) for group in groups]
    return table(ladders, lost)


def _lost(scores: Scores, name: str) -> Floats:
    """What a group has lost with 0, 1, ... of its units gone."""
    found = scores.value[name].numpy()
    if name not in scores.measured:
        return np.concatenate([[0.0], np.cumsum(np.sort(found))])
    curve = scores.measured[name]
    gone: Floats = np.interp(len(found) - np.arange(len(found) + 1), curve.kept, curve.lost)
    return gone


def table(ladders: list[Counts], lost: list[Floats]) -> Levels:
    """The table of kept counts, descending, of groups that have lost so much with 0, 1, ... units gone."""
    longest = max(len(counts) for counts in ladders)
    kept = np.stack([np.pad(counts, (0, longest - len(counts)), mode="edge") for counts in ladders])
    rows = [gone[len(gone) - 1 - row] for gone, row in zip(lost, kept, strict=True)]
    return Levels(kept, np.stack(rows), np.array([len(counts) - 1 for counts in ladders]))


def ladder(group: Group, limits: Limits) -> Counts:
    """The kept counts that a group may have, descending; none at all only of a branch, at a sparsity of 1."""
    total, step = len(group.units), 1
    floor = max(0 if group.removable else 1, limits.floors.get(group.name, 0))
    for weight in group.producers:
        rule = rule_of(owner(weight), limits.rules)
        width = group.out_width(weight)
        own = rule.multiple if rule and rule.multiple else _multiple(limits.multiple, width * total)
        step = math.lcm(step, own // math.gcd(own, width))
        sparsity = limits.max_sparsity if rule is None or rule.max_sparsity is None else rule.max_sparsity
        channels = rule.min_channels if rule and rule.min_channels else 0
        # The nearest float to a share can be a hair above it: 20 * (1 - 0.95) is 1.0000000000000009.
        floor = max(floor, math.ceil(total * (1 - sparsity) - 1e-9), math.ceil(channels / width))
    lower = [n for n in range(total - total % step, -1, -step) if floor <= n < total]
    return np.array([total, *lower], dtype=np.int64)


def _multiple(multiple: int, channels: int) -> int:
    """The multiple that a layer is cut by.

    A layer no wider than the multiple could not be cut at all; it is cut by half the multiple, but not below
    8 channels, under which no runtime's INT8 kernels go.
    """
    return max(min(8, multiple), multiple // 2) if channels <= multiple else multiple
