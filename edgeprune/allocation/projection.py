"""From shares to whole units that meet a budget: exactly, for numbers of weights; as nearly as widths allow, for costs.

What is projected is a *family*: shares of the parts that rise together with one number t. The largest t that the
budget allows is found by bisection, and what rounding leaves over is given to the parts that were rounded off most
(the largest-remainder rule). So no part's turn in an order decides what it gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeprune.allocation.parts import Lot
from edgeprune.errors import EdgepruneError
from edgeprune.pruning.greedy import Bound, holds
from edgeprune.pruning.quantity import Counts, Floats

Family = Callable[[float], Floats]
"""From t in 0..1 to the share that each part keeps, `[parts]`; none falls as t rises."""
HALVINGS = 60
FARTHEST = 40.0
"""Logits that a common shift spans to either side."""


class Goal(Protocol):
    def fit(self, family: Family) -> Counts:
        """The units that each part keeps, `[parts]`."""


@dataclass(frozen=True)
class Exactly:
    """So many weights stay; fewer by less than a unit where units of several weights do not add up to it."""

    lot: Lot
    stay: int

    @classmethod
    def of(cls, lot: Lot, zeros: float) -> Exactly:
        """At least a share of zeros, the fewest that make it so.

        Raises:
            EdgepruneError: the parts keep more than that in any case.
        """
        total = int((lot.units * lot.sizes).sum())
        stay = total - int(np.ceil(round(zeros * total, 6)))
        floor = int((lot.least * lot.sizes).sum())
        if floor > stay:
            raise EdgepruneError(
                f"a sparsity of {zeros:g} cannot be reached: what stays of every layer in any case makes at most "
                f"{1 - floor / total:.3f}. Ask for less, or lower least under [amp_hasa] in the recipe."
            )
        return cls(lot, min(stay, int((lot.most * lot.sizes).sum())))

    def fit(self, family: Family) -> Counts:
        units, sizes, least, most = self.lot.units, self.lot.sizes, self.lot.least, self.lot.most

        def wanted(t: float) -> Floats:
            found: Floats = np.clip(family(t) * units, least, most)
            return found

        t = _highest(lambda t: float((wanted(t) * sizes).sum()) <= self.stay)
        exact = wanted(t)
        counts = np.clip(np.floor(exact + 1e-9).astype(np.int64), least, most)
        left = self.stay - int((counts * sizes).sum())
        order = np.argsort(-(exact - counts), kind="stable")
        while True:
            before = left
            for part in order:
                if sizes[part] <= left and counts[part] < most[part]:
                    counts[part] += 1
                    left -= int(sizes[part])
            if left == before:
                return counts


@dataclass(frozen=True)
class Within:
    """Limits on what the network costs all hold. `ladders`: the counts that each part may keep, ascending."""

    lot: Lot
    ladders: tuple[Counts, ...]
    bounds: tuple[Bound, ...]

    def fit(self, family: Family) -> Counts:
        units = self.lot.units

        def steps(t: float) -> tuple[Counts, Floats]:
            wanted = family(t) * units
            pairs = zip(self.ladders, wanted, strict=True)
            return np.array([_nearest(ladder, want) for ladder, want in pairs], dtype=np.int64), wanted

        t = _highest(lambda t: holds(self.bounds, self._counts(steps(t)[0])))
        place, wanted = steps(t)
        order = np.argsort(-(wanted - self._counts(place)) / units, kind="stable")
        rising = True
        while rising:
            rising = False
            for part in order:
                if place[part] + 1 < len(self.ladders[part]):
                    place[part] += 1
                    fits = holds(self.bounds, self._counts(place))
                    rising |= fits
                    place[part] -= not fits
        return self._counts(place)

    def _counts(self, place: Counts) -> Counts:
        return np.array([ladder[at] for ladder, at in zip(self.ladders, place, strict=True)], dtype=np.int64)


@dataclass(frozen=True)
class Free:
    """No budget: the shares are taken as they are. For the reward as printed, which holds none."""

    lot: Lot

    def fit(self, family: Family) -> Counts:
        kept = np.rint(family(0.5) * self.lot.units).astype(np.int64)
        found: Counts = np.clip(kept, self.lot.least, self.lot.most)
        return found


def shifted(logits: Floats) -> Family:
    """The family of shares whose logits are these, all shifted alike; at t = 1/2 they are not shifted."""

    def family(t: float) -> Floats:
        found: Floats = 1 / (1 + np.exp(-np.clip(logits + (2 * t - 1) * FARTHEST, -500, 500)))
        return found

    return family


def logits_of(kept: Counts, units: Counts) -> Floats:
    """The logits of what each part keeps; of a part that keeps all or nothing, those of half a unit less or more."""
    share = np.clip(kept / units, 0.5 / units, 1 - 0.5 / units)
    found: Floats = np.log(share / (1 - share))
    return found


def _highest(allowed: Callable[[float], bool]) -> float:
    """The highest t in 0..1 that is allowed, to the precision of the bisection; 0 where none is."""
    if allowed(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _nearest(ladder: Counts, wanted: float) -> int:
    return int(np.abs(ladder - wanted).argmin())
