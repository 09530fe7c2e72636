"""The solver for any quantities: greedy steps, then swaps.

Multiply-adds multiply the widths of neighbouring groups, so what a step saves depends on the steps taken elsewhere:
a knapsack that no dynamic programme holds. Steps are taken where the score lost is least for the share of the excess
that it removes; far from the goal many at a time, near it one by one. Then whatever still fits is given back, and
steps are traded, a narrower group for wider ones and the other way round, while that raises the kept score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.pruning.levels import Levels
from edgeprune.pruning.quantity import Counts, Floats, Quantity

SHARE = 1 / 8
"""Of the excess, removed before prices are read anew."""
PASSES = 4
"""Over all groups in search of trades; the last ones find little."""
SLACK = 1e-9
"""Relative: a limit that is met exactly is met, whatever the order of summation."""


Mask = NDArray[np.bool_]
Choice = Callable[[Levels, Counts, Counts, Floats], Counts]
"""From the levels, a level per group, the units of each group's next step and the share of the excess that it removes,
to the steps to take, per group."""


@dataclass(frozen=True)
class Bound:
    """A quantity that may be at most `limit`."""

    quantity: Quantity
    limit: float


def excess(bounds: Sequence[Bound], kept: Counts) -> list[Floats]:
    """By how much each part of each bound is above its limit; below or at zero where it is held."""
    return [bound.quantity.at(kept) - bound.limit * (1 + SLACK) for bound in bounds]


def holds(bounds: Sequence[Bound], kept: Counts) -> bool:
    return all(bool((over <= 0).all()) for over in excess(bounds, kept))


def solve(levels: Levels, bounds: Sequence[Bound]) -> Counts:
    """Return a level per group that holds all bounds; the narrowest network must hold them."""
    free = levels.last > 0
    level = _fill(levels, bounds, _narrow(levels, bounds, np.zeros_like(levels.last), free, _steps), free)
    for _ in range(PASSES):
        before = float(levels.losses(level).sum())
        for group in np.flatnonzero(free):
            for trade in (_widen, _thin):
                level = trade(levels, bounds, level, free, int(group))
        if float(levels.losses(level).sum()) >= before:
            break
    return level


def _narrow(
    levels: Levels, bounds: Sequence[Bound], level: Counts, free: Mask, choose: Choice, most: float = np.inf
) -> Counts:
    """Take steps in free groups until all bounds hold, or until more than `most` is lost (they do not hold then)."""
    level, start = level.copy(), float(levels.losses(level).sum())
    while True:
        kept = levels.counts(level)
        over = excess(bounds, kept)
        if all(bool((part <= 0).all()) for part in over):
            return level
        open_ = free & (level < levels.last)
        fewer = kept - levels.counts(np.where(open_, level + 1, level))
        removed = _removed(bounds, over, kept, fewer)
        steps = choose(levels, level, fewer, removed)
        level = level + steps
        if not steps.any() or float(levels.losses(level).sum()) - start > most:
            return level


def _removed(bounds: Sequence[Bound], over: list[Floats], kept: Counts, fewer: Counts) -> Floats:
    """The share of the excess that each group's next step removes, summed over the bounds that do not hold."""
    removed = np.zeros(len(kept))
    for bound, parts in zip(bounds, over, strict=True):
        above = parts > 0
        if above.any():
            saved = bound.quantity.saved(kept, fewer)[above]
            removed += np.minimum(saved / parts[above, None], 1.0).mean(0)
    return removed


def _step(levels: Levels, level: Counts, fewer: Counts, removed: Floats) -> Counts:  # noqa: ARG001
    """The one step that loses least for what it removes."""
    steps = np.zeros_like(level)
    able = np.flatnonzero(removed > 0)
    if len(able):
        lost = levels.losses(level + (removed > 0)) - levels.losses(level)
        steps[able[int((lost[able] / removed[able]).argmin())]] = 1
    return steps


def _steps(levels: Levels, level: Counts, fewer: Counts, removed: Floats) -> Counts:
    """The cheapest steps, at least one, that together remove a share of the excess."""
    able = np.flatnonzero(removed > 0)
    if not len(able):
        return np.zeros_like(level)
    # All steps still open, each at today's rate per unit; within a group they come in order.
    share = (removed[able] / fewer[able])[:, None] * -np.diff(levels.kept[able], axis=1)
    column = np.arange(levels.kept.shape[1] - 1)
    open_ = (column >= level[able, None]) & (column < levels.last[able, None])
    price = np.full(share.shape, -np.inf)
    np.divide(levels.lost[able, 1:] - levels.lost[able, :-1], share, out=price, where=open_)
    rows, columns = np.nonzero(open_)
    order = np.argsort(np.maximum.accumulate(price, axis=1)[rows, columns], kind="stable")
    together = np.cumsum(share[rows, columns][order])
    taken = max(1, int(np.searchsorted(together, SHARE, side="right")))
    steps: Counts = np.bincount(able[rows[order[:taken]]], minlength=len(level))
    return steps


def _fill(levels: Levels, bounds: Sequence[Bound], level: Counts, free: Mask) -> Counts:
    """Give steps back while the bounds hold, the most score for the least of the bounds first."""
    level = level.copy()
    while True:
        kept = levels.counts(level)
        room = [-over for over in excess(bounds, kept)]
        closed = free & (level > 0)
        before = np.where(closed, level - 1, level)
        fewer = kept - levels.counts(before)
        gain = levels.losses(level) - levels.losses(before)
        used, fits = np.zeros(len(level)), closed
        for bound, parts in zip(bounds, room, strict=True):
            added = -bound.quantity.saved(kept, fewer)
            fits = fits & (added <= parts[:, None]).all(0)
            used += added.max(0) / max(bound.limit, 1e-30)
        if not fits.any():
            return level
        worth = np.where(fits, gain / np.maximum(used, 1e-30), -np.inf)
        level[int(worth.argmax())] -= 1


def _widen(levels: Levels, bounds: Sequence[Bound], level: Counts, free: Mask, group: int) -> Counts:
    """Give one step back to a group, and take what that needs from others, if that raises the kept score."""
    if level[group] == 0:
        return level
    wider = level.copy()
    wider[group] -= 1
    others = free.copy()
    others[group] = False
    most = float(levels.lost[group, level[group]] - levels.lost[group, level[group] - 1])
    return _better(levels, bounds, level, _narrow(levels, bounds, wider, others, _step, most), free)


def _thin(levels: Levels, bounds: Sequence[Bound], level: Counts, free: Mask, group: int) -> Counts:
    """Take one step in a group, and give back to others what then fits, if that raises the kept score."""
    if level[group] == levels.last[group]:
        return level
    thinner = level.copy()
    thinner[group] += 1
    others = free.copy()
    others[group] = False
    return _better(levels, bounds, level, _fill(levels, bounds, thinner, others), free)


def _better(levels: Levels, bounds: Sequence[Bound], level: Counts, other: Counts, free: Mask) -> Counts:
    before, after = float(levels.losses(level).sum()), float(levels.losses(other).sum())
    if after >= before - 1e-12 * abs(before) or not holds(bounds, levels.counts(other)):
        return level
    return _fill(levels, bounds, other, free)
