"""Neural implants: which of the channels that a budget would cut become 1x1 convolutions instead.

Yu et al. 2021, arXiv 2101.08940: of the channels that the ranking would remove, the most sensitive share is not
removed, but made by a 1x1 convolution over the inputs that are left, which starts at zero and is trained with the rest.
Here a budget decides how many channels go, and implants cost something too: the solver is given a tighter limit, its
best cut channels get implants, and the limit is moved until the network *with* them holds what the user asked; what
room is left then is given back to the groups.

Of the paper's settings the share is not known; its released code asks for it, 0.1 unless told otherwise, and counts
channels of each convolution alone where a unit is all that must be cut together. In a unit's 1x1, grouped and linear
layers the channels stay as they are.

Implants come in the steps of a group's widths (`levels.ladder`), so that both the kept channels and all of them with
the implants are widths that the device likes. A group of which nothing is kept gets none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeprune.pruning.budget import UNITS, bounds_of, choose, reached, refuse, solved
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.greedy import SLACK, Bound, holds
from edgeprune.pruning.levels import Levels, Limits, levels
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Counts, Floats, Weighted, value
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import SHARES, Budget, LimitName

ROUNDS = 12
"""Halvings of the tighter limit."""
COUNTED: tuple[LimitName, ...] = ("macs", "params", "size_mb", "sparsity")
"""What a network with implants is known to have; `spec.channels.check_implants` refuses the other limits."""


@dataclass(frozen=True)
class _Choice:
    """Units per group that stay, and how many of those become implants, `[groups]`."""

    stay: Counts
    implanted: Counts


def choose_with_implants(
    ground: Prunable, scores: Scores, budget: Budget, limits: Limits, whole: frozenset[str], ratio: float
) -> Cuts:
    """`budget.choose` where the best `ratio` of the cut units whose layers can have an implant get one.

    That is to the nearest step. Where even the narrowest cut leaves no room for so many, those come in, best first,
    for which there is room.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    if not ratio or not ground.sites:
        return choose(ground.groups, scores, ground.cost, budget, limits, whole)
    table = levels(ground.groups, scores, limits, whole)
    refuse(ground.cost, budget, table.counts(table.last))
    bounds = bounds_of(ground.cost, budget)
    able = np.array([any(weight in ground.sites for weight in group.producers) for group in ground.groups])

    def used(choice: _Choice) -> Floats:
        return np.array(
            [
                (value(bound.quantity, choice.stay) - _spared(name, ground, choice)) / bound.limit
                for name, bound in zip(budget.limits, bounds, strict=True)
            ]
        )

    def fits(choice: _Choice) -> bool:
        return _within(used(choice))

    best, low, high = None, 0.0, 1.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tighter = [Bound(bound.quantity, bound.limit * middle) for bound in bounds]
        if not holds(tighter, table.counts(table.last)):
            low = middle
            continue
        choice = _best_cut(table, solved(table, tighter), able, ratio)
        if fits(choice):
            best, low = choice, middle
        else:
            high = middle
    best = best or _best_cut(table, table.last, able, ratio, fits)
    if not best.implanted.any():
        return choose(ground.groups, scores, ground.cost, budget, limits, whole)
    return _cuts(ground, scores, _filled(table, best, able, ratio, used))


def _best_cut(
    table: Levels, level: Counts, able: np.ndarray, ratio: float, fits: Callable[[_Choice], bool] = lambda _: True
) -> _Choice:
    """Give the best steps of what is cut to implants, by their mean score per unit, while the ratio lasts."""
    kept = table.counts(level)
    open_ = [int(g) for g in np.flatnonzero(able & (kept > 0))]
    room = ratio * sum(int(table.kept[g, 0] - kept[g]) for g in open_)
    steps = []
    for g in open_:
        for after in range(int(level[g]), 0, -1):
            size = int(table.kept[g, after - 1] - table.kept[g, after])
            steps.append((float(table.lost[g, after] - table.lost[g, after - 1]) / size, g, size))
    choice = _Choice(kept, np.zeros_like(kept))
    closed: set[int] = set()
    for _, g, size in sorted(steps, key=lambda step: -step[0]):  # of one group they come in order: best first
        more = np.zeros_like(kept)
        more[g] = size
        wider = _Choice(choice.stay + more, choice.implanted + more)
        if g in closed or size / 2 > room or not fits(wider):
            closed.add(g)
            continue
        choice, room = wider, room - size
    return choice


def _within(shares: Floats) -> bool:
    """Whether shares of the limits hold them."""
    return bool((shares <= 1 + SLACK).all())


def _filled(
    table: Levels, choice: _Choice, able: np.ndarray, ratio: float, used: Callable[[_Choice], Floats]
) -> _Choice:
    """Let steps stay for which the limits have room, the most score for the least of them first.

    Mostly one more step stays, a group's own channels and its implants both moving up; where implants are more than
    `ratio` by then, a step of them becomes channels of the convolution's own again.
    """

    def too_many(some: _Choice) -> float:
        cut = table.kept[able, 0].sum() - (some.stay - some.implanted)[able].sum()
        return float(some.implanted.sum() - ratio * cut)

    while True:
        before, now = used(choice), too_many(choice)
        fewer = [
            option
            for option in _steps(table, choice, before, used, fewer_implants=True)
            if abs(too_many(option[1])) <= abs(now)
        ]
        options = fewer or _steps(table, choice, before, used, fewer_implants=False)
        if not options:
            return choice
        choice = max(options, key=lambda option: option[0])[1]


def _steps(
    table: Levels, choice: _Choice, before: Floats, used: Callable[[_Choice], Floats], fewer_implants: bool
) -> list[tuple[float, _Choice]]:
    """Each group's next step that the limits have room for, with the score it keeps per share of them."""
    found = []
    for g in range(len(choice.stay)):
        counts = table.kept[g].tolist()
        stay, own = counts.index(choice.stay[g]), counts.index(choice.stay[g] - choice.implanted[g])
        if (own == stay) if fewer_implants else (stay == 0):
            continue
        after = stay if fewer_implants else stay - 1
        wider = _Choice(choice.stay.copy(), choice.implanted.copy())
        wider.stay[g], wider.implanted[g] = counts[after], counts[after] - counts[own - 1]
        spent = used(wider)
        if _within(spent):
            level = own if fewer_implants else stay
            gain = float(table.lost[g, level] - table.lost[g, level - 1])
            found.append((gain / max(float((spent - before).max()), 1e-30), wider))
    return found


def _spared(name: LimitName, ground: Prunable, choice: _Choice) -> float:
    """By how much implants are cheaper than their convolutions' own channels, in the quantity's unit."""
    quantity, units = ground.cost.quantities[name], ground.cost.units
    if name == "sparsity":
        return 0.0
    assert isinstance(quantity, Weighted)
    sizes, spared = quantity.products.sizes(choice.stay), 0.0
    for weight, site in ground.sites.items():
        rows = [(g, group.out_width(weight)) for g, group in enumerate(ground.groups) if weight in group.producers]
        outputs = site.outputs - sum(int(units[g] - choice.stay[g]) * width for g, width in rows)
        share = sum(int(choice.implanted[g]) * width for g, width in rows) / max(outputs, 1)
        row = site.use if name == "macs" else site.parameter
        spared += quantity.weight[row] * sizes[row] * share * (1 - 1 / site.taps)
    return float(spared)


def _cuts(ground: Prunable, scores: Scores, choice: _Choice) -> Cuts:
    groups, cost = ground.groups, ground.cost
    gone, implants = set[int](), set[int]()
    for g, group in enumerate(groups):
        order = [group.units[i] for i in scores.value[group.name].argsort(stable=True).tolist()]
        cut = len(order) - int(choice.stay[g])
        gone.update(order[:cut])
        implants.update(order[cut : cut + int(choice.implanted[g])])
    without, found = reached(cost, choice.stay), dict[str, float]()
    for name in (name for name in COUNTED if name in without):
        whole = value(cost.quantities[name], cost.units) if name in SHARES else UNITS[name]
        found[name] = without[name] - _spared(name, ground, choice) / whole
    return Cuts(
        frozenset(gone),
        {group.name: (int(n), len(group.units)) for group, n in zip(groups, choice.stay, strict=True)},
        found,
        frozenset(implants),
        {group.name: int(n) for group, n in zip(groups, choice.implanted, strict=True) if n},
    )
