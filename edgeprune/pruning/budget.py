"""The budget solver: which units to cut so that the kept score is highest under a budget."""

from __future__ import annotations

import math

import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.pruning.cost import Cost
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.exact import solve_exactly
from edgeprune.pruning.greedy import Bound, holds, solve
from edgeprune.pruning.levels import Levels, Limits, levels
from edgeprune.pruning.quantity import Affine, Counts, value
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import SHARES, Budget, LimitName

UNITS = {"size_mb": 1e6, "memory_mb": 1e6, "latency_ms": 1.0}
"""What an absolute limit's unit is in that of its quantity."""


def choose(
    groups: list[Group],
    scores: Scores,
    cost: Cost,
    budget: Budget,
    limits: Limits,
    whole: frozenset[str] = frozenset(),
) -> Cuts:
    """Choose the units to cut. Groups named in `whole` are left so.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    table = levels(groups, scores, limits, whole)
    refuse(cost, budget, table.counts(table.last))
    kept = table.counts(solved(table, bounds_of(cost, budget)))
    units: set[int] = set()
    for group, count in zip(groups, kept, strict=True):
        order = scores.value[group.name].argsort(stable=True).tolist()
        units.update(group.units[i] for i in order[: len(group.units) - int(count)])
    return Cuts(
        frozenset(units),
        {group.name: (int(count), len(group.units)) for group, count in zip(groups, kept, strict=True)},
        reached(cost, kept),
    )


def solved(table: Levels, bounds: list[Bound]) -> Counts:
    """A level per group that holds all bounds; the narrowest network must hold them."""
    level = solve_exactly(table, bounds)
    if level is None:
        level = solve(table, bounds)
    assert holds(bounds, table.counts(level)), "the narrowest network was checked against the budget"
    return level


def reached(cost: Cost, kept: Counts, dense: Cost | None = None) -> dict[str, float]:
    """Limit name -> what a choice reaches, in the limit's unit; shares are of the `dense` network, if it is another."""
    found, of = {}, dense or cost
    for name, quantity in cost.quantities.items():
        whole = value(of.quantities[name], of.units) if name in SHARES else UNITS[name]
        share = value(quantity, kept) / whole
        found[name] = 1 - share if name == "sparsity" else share
    return found


def smallest(groups: list[Group], cost: Cost, limits: Limits) -> dict[str, float]:
    """What the narrowest network reaches, as `reached` says it."""
    table = _unscored(groups, limits)
    return reached(cost, table.counts(table.last))


def check(groups: list[Group], cost: Cost, budget: Budget, limits: Limits) -> None:
    """Refuse what `choose` would refuse, before there are scores.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    table = _unscored(groups, limits)
    refuse(cost, budget, table.counts(table.last))


def _unscored(groups: list[Group], limits: Limits) -> Levels:
    return levels(groups, no_scores(groups), limits)


def no_scores(groups: list[Group]) -> Scores:
    """Scores by which all units are alike."""
    return Scores({group.name: torch.zeros(len(group.units), dtype=torch.float64) for group in groups})


def refuse(cost: Cost, budget: Budget, narrowest: Counts) -> None:
    """Refuse a budget that the narrowest network does not meet.

    Raises:
        EdgepruneError: the text says what can be met.
    """
    limits = zip(budget.limits, bounds_of(cost, budget), strict=True)
    failing = [name for name, bound in limits if not holds([bound], narrowest)]
    if failing:
        raise EdgepruneError(_unreachable(budget, reached(cost, narrowest), failing))


def bounds_of(cost: Cost, budget: Budget) -> list[Bound]:
    """A budget's limits, in their order, as bounds on the quantities of a network."""
    return [_bound(cost, name, limit) for name, limit in budget.limits.items()]


def _bound(cost: Cost, name: LimitName, limit: float) -> Bound:
    quantity = cost.quantities[name]
    if name not in SHARES:
        absolute = limit * UNITS[name]
        return Bound(quantity.above(absolute, cost.units) if isinstance(quantity, Affine) else quantity, absolute)
    return Bound(quantity, (1 - limit if name == "sparsity" else limit) * value(quantity, cost.units))


def _unreachable(budget: Budget, least: dict[str, float], failing: list[LimitName]) -> str:
    said, better = [], []
    for name in failing:
        option, limit = f"--{name.replace('_', '-')}", budget.limits[name]
        if name == "sparsity":
            most = math.floor(least[name] * 1000) / 1000
            said.append(f"{option} {limit:g} cannot be met: at most {most:.3f} of the channels can go")
            better.append(f"{option} {most:g} or less")
        else:
            said.append(f"{option} {limit:g} cannot be met: {least[name]:.3g} is the least that can be reached")
            better.append(f"{option} {_rounded_up(least[name]):g} or more")
    return f"{'; '.join(said)}. Ask for {' and '.join(better)}, or keep fewer layers."


def _rounded_up(number: float) -> float:
    """The next number with three digits."""
    digit = 10.0 ** (math.floor(math.log10(number)) - 2)
    return math.ceil(number / digit) * digit
