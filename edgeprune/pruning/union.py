"""The choice where every layer is cut alone: one ranking of all channels, as in HAP (Yu et al. 2021).

What a sum keeps depends on *which* channels its terms keep, so no table of counts says what a cut saves. There is one
knob instead, how many of the channels, lowest score first, fall below the threshold; it is turned until the limits
hold. As in HAP's released code no layer falls below its floor; unlike there, it then keeps its best channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprune.model.groups import Group
from edgeprune.pruning.budget import bounds_of, reached, refuse
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.greedy import Bound, holds
from edgeprune.pruning.levels import Limits, ladder
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Counts, Floats
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget

Mask = NDArray[np.bool_]


def choose(ground: Prunable, scores: Scores, budget: Budget, limits: Limits, whole: frozenset[str]) -> Cuts:
    """Choose the units to cut: as many of the lowest scored as the limits ask for. Groups in `whole` are left so.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    ranking = _Ranking(ground, scores, limits, whole)
    refuse(ground.cost, budget, ranking.counts(ranking.level(ranking.total)))
    asked, low, high = bounds_of(ground.cost, budget), 0, ranking.total
    while low < high:
        middle = (low + high) // 2
        if holds(asked, ranking.counts(ranking.level(middle))):
            high = middle
        else:
            low = middle + 1
    level = _filled(ranking, asked, ranking.level(low))
    counts = ranking.counts(level)
    return Cuts(
        frozenset(int(unit) for unit in ranking.units[~ranking.kept(level)]),
        {g.name: (int(n), len(g.units)) for g, n in zip(ground.groups, counts, strict=False)},
        reached(ground.cost, counts),
    )


def smallest(ground: Prunable, scores: Scores, limits: Limits) -> dict[str, float]:
    """What the narrowest network with these scores reaches, as `reached` says it."""
    ranking = _Ranking(ground, scores, limits, frozenset())
    return reached(ground.cost, ranking.counts(ranking.level(ranking.total)))


def _filled(ranking: _Ranking, asked: list[Bound], level: Counts) -> Counts:
    """Give back what the limits leave room for, the best ranked first: widths go in steps, so some is left."""
    while True:
        for wider in ranking.wider(level):
            if holds(asked, ranking.counts(wider)):
                level = wider
                break
        else:
            return level


@dataclass(frozen=True)
class _Ranking:
    """All units of all groups, one after the other, and where the threshold puts them."""

    ground: Prunable
    scores: Scores
    limits: Limits
    whole: frozenset[str]

    @cached_property
    def units(self) -> Counts:
        return np.array([unit for group in self.ground.groups for unit in group.units], dtype=np.int64)

    @property
    def total(self) -> int:
        return len(self.units)

    @cached_property
    def _starts(self) -> Counts:
        """Where each group's units begin."""
        return np.cumsum([0, *(len(group.units) for group in self.ground.groups)])[:-1]

    @cached_property
    def _rank(self) -> Counts:
        """How many units have a lower score, of each."""
        value: Floats = np.concatenate([self.scores.value[group.name].numpy() for group in self.ground.groups])
        rank = np.empty(len(value), dtype=np.int64)
        rank[np.argsort(value, kind="stable")] = np.arange(len(value))
        return rank

    @cached_property
    def _ladders(self) -> list[Counts]:
        """The counts that each group may keep, ascending."""
        return [self._ladder(group)[::-1] for group in self.ground.groups]

    def _ladder(self, group: Group) -> Counts:
        return np.array([len(group.units)]) if group.name in self.whole else ladder(group, self.limits)

    def level(self, below: int) -> Counts:
        """With so many units below the threshold, the place in its ladder of each group: the rest, rounded up."""
        above = np.add.reduceat(self._rank >= below, self._starts, dtype=np.int64)
        return np.array([np.searchsorted(legal, n) for legal, n in zip(self._ladders, above, strict=True)])

    def wider(self, level: Counts) -> Iterator[Counts]:
        """Levels with one group a step up, the one whose new units rank highest first."""
        worth = {}
        for g, legal in enumerate(self._ladders):
            if level[g] + 1 < len(legal):
                best = np.sort(self._ranks(g))[::-1]
                worth[g] = best[legal[level[g]] : legal[level[g] + 1]].mean()
        for g in sorted(worth, key=worth.__getitem__, reverse=True):
            raised = level.copy()
            raised[g] += 1
            yield raised

    def kept(self, level: Counts) -> Mask:
        """Which units stay, `[units]`: the best of each group."""
        found = np.zeros(self.total, dtype=bool)
        for g, legal in enumerate(self._ladders):
            ranks = self._ranks(g)
            found[self._starts[g] + np.argsort(ranks)[len(ranks) - legal[level[g]] :]] = True
        return found

    def _ranks(self, group: int) -> Counts:
        return self._rank[self._starts[group] :][: len(self.ground.groups[group].units)]

    def counts(self, level: Counts) -> Counts:
        """How many units stay of each group, then how many joins of each group of them."""
        kept = self.kept(level)
        mine = np.add.reduceat(kept, self._starts, dtype=np.int64)
        alive = np.append(kept, True)[self._terms[1]]
        joined = np.bincount(self._terms[0][alive], minlength=len(self._join_group)) > 0
        sums = np.bincount(self._join_group[joined], minlength=len(self.ground.joined))
        return np.concatenate([mine, sums]).astype(np.int64)

    @cached_property
    def _join_group(self) -> Counts:
        return np.array([g for g, group in enumerate(self.ground.joined) for _ in group.units], dtype=np.int64)

    @cached_property
    def _terms(self) -> Counts:
        """`[2, pairs]`: a join, and a unit that is added into it; one that is never cut has the number `total`."""
        place = {int(unit): i for i, unit in enumerate(self.units)}
        joins = [join for group in self.ground.joined for join in group.units]
        bases = self.ground.found.bases
        pairs = [(j, place.get(unit, self.total)) for j, join in enumerate(joins) for unit in bases[join]]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2).T
