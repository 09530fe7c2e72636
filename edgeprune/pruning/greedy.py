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
AHEAD = 32
"""Prices read per group at a time."""
FINEST = 256
"""Where a group has more steps than this left, several count as one."""
PASSES = 10
"""Over all groups in search of trades."""
MANY, LITTLE = 32, 1e-3
"""Of more than so many groups, a pass that lessens the lost score by less than this share is the last."""
LOOSE = 0.02
"""Share of a limit that may be left over in a tight bound."""
STRIDES = (2, 3, 4)
"""Steps looked ahead where time falls in stairs: the first step of a stair saves nothing by itself."""
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
    level = _solve(levels, bounds)
    # A bound that ends up loose should have had no say in which steps were cheap.
    over = excess(bounds, levels.counts(level))
    tight = [bound for bound, parts in zip(bounds, over, strict=True) if parts.max() > -LOOSE * bound.limit]
    if 0 < len(tight) < len(bounds):
        other = _solve(levels, tight)
        if holds(bounds, levels.counts(other)) and levels.losses(other).sum() < levels.losses(level).sum():
            return other
    return level


def _solve(levels: Levels, bounds: Sequence[Bound]) -> Counts:
    free = levels.last > 0
    level = _fill(levels, bounds, _narrow(levels, bounds, np.zeros_like(levels.last), free, _steps), free)
    for _ in range(PASSES):
        before = float(levels.losses(level).sum())
        for group in np.flatnonzero(free):
            for trade in (_widen, _thin):
                level = trade(levels, bounds, level, free, int(group))
        found = before - float(levels.losses(level).sum())
        if found <= (LITTLE * before if len(level) > MANY else 0):
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
        removed = _removed(levels, level, bounds, over, fewer)
        steps = choose(levels, level, fewer, removed)
        if not steps.any() and any(bound.quantity.stepped for bound in bounds):
            steps = open_.astype(level.dtype)  # on a flat in every direction: only together do they leave it
        level = level + steps
        if not steps.any() or float(levels.losses(level).sum()) - start > most:
            return level


def _removed(levels: Levels, level: Counts, bounds: Sequence[Bound], over: list[Floats], fewer: Counts) -> Floats:
    """The share of the excess that each group's next step removes, summed over the bounds that do not hold."""
    kept = levels.counts(level)
    removed = np.zeros(len(kept))
    for bound, parts in zip(bounds, over, strict=True):
        above = parts > 0
        if above.any():
            saved = _ahead(levels, level, bound.quantity, fewer)[above]
            removed += np.minimum(saved / parts[above, None], 1.0).mean(0)
    return removed


def _ahead(levels: Levels, level: Counts, quantity: Quantity, fewer: Counts) -> Floats:
    """What a step saves; where time falls in stairs, its share of the best of the next few steps, `[parts, groups]`."""
    kept = levels.counts(level)
    saved = quantity.saved(kept, fewer)
    if quantity.stepped:
        for stride in STRIDES:
            further = kept - levels.counts(np.minimum(level + stride, levels.last))
            share = np.divide(fewer, further, out=np.zeros(len(kept)), where=(further > 0) & (fewer > 0))
            saved = np.maximum(saved, quantity.saved(kept, further) * share)
    return saved


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
    steps = np.zeros_like(level)
    able = np.flatnonzero(removed > 0)
    stride = 1 + int((levels.last - level).max()) // FINEST
    while len(able):
        # The next steps, so many at a time, each at today's rate per unit; within a group they come in order.
        ends = np.minimum(level[able, None] + stride * np.arange(AHEAD + 1), levels.last[able, None])
        share = (removed[able] / fewer[able])[:, None] * -np.diff(levels.kept[able[:, None], ends], axis=1)
        price = np.full(share.shape, -np.inf)
        np.divide(np.diff(levels.lost[able[:, None], ends], axis=1), share, out=price, where=share > 0)
        rows, columns = np.nonzero(share > 0)
        order = np.argsort(np.maximum.accumulate(price, axis=1)[rows, columns], kind="stable")
        together = np.cumsum(share[rows, columns][order])
        if stride > 1 and together[0] > SHARE:
            stride = 1 + stride // 4
            continue
        taken = order[: max(1, int(np.searchsorted(together, SHARE, side="right")))]
        np.add.at(steps, able[rows[taken]], np.diff(ends, axis=1)[rows[taken], columns[taken]])
        break
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
    for other in (_one_step(levels, bounds, wider, others), _narrow(levels, bounds, wider, others, _step, most)):
        level = _better(levels, bounds, level, other, free)
    return level


def _one_step(levels: Levels, bounds: Sequence[Bound], level: Counts, free: Mask) -> Counts:
    """Take the one step that makes all bounds hold and loses least; none where no single step does."""
    kept = levels.counts(level)
    open_ = free & (level < levels.last)
    after = np.where(open_, level + 1, level)
    fewer = kept - levels.counts(after)
    fits = open_
    for bound, parts in zip(bounds, excess(bounds, kept), strict=True):
        fits = fits & (parts[:, None] <= bound.quantity.saved(kept, fewer)).all(0)
    if not fits.any():
        return level
    lost = np.where(fits, levels.losses(after) - levels.losses(level), np.inf)
    taken = level.copy()
    taken[int(lost.argmin())] += 1
    return taken


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
