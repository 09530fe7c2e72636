"""The budget solver: which units to cut so that the kept score is highest under a budget."""

from __future__ import annotations

import math

from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.pruning.cost import Cost
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.exact import solve_exactly
from edgeprune.pruning.greedy import Bound, solve
from edgeprune.pruning.levels import Limits, levels
from edgeprune.pruning.quantity import Counts, value
from edgeprune.pruning.score import Scores
from edgeprune.spec.recipe import Budget


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
    quantity = cost.quantities[budget.kind]
    allowed = 1 - budget.value if budget.kind == "sparsity" else budget.value
    dense, smallest = value(quantity, cost.units), value(quantity, table.counts(table.last))
    bounds = [Bound(quantity, allowed * dense)]
    if smallest > allowed * dense:
        raise EdgepruneError(_unreachable(budget, smallest / dense))
    level = solve_exactly(table, bounds)
    if level is None:
        level = solve(table, bounds)
    kept = table.counts(level)
    units: set[int] = set()
    for group, count in zip(groups, kept, strict=True):
        order = scores.value[group.name].argsort(stable=True).tolist()
        units.update(group.units[i] for i in order[: len(group.units) - int(count)])
    return Cuts(
        frozenset(units),
        {group.name: (int(count), len(group.units)) for group, count in zip(groups, kept, strict=True)},
        _reached(cost, kept),
    )


def _reached(cost: Cost, kept: Counts) -> dict[str, float]:
    shares = {kind: value(quantity, kept) / value(quantity, cost.units) for kind, quantity in cost.quantities.items()}
    return {**shares, "sparsity": 1 - shares["sparsity"]}


def _unreachable(budget: Budget, smallest: float) -> str:
    if budget.kind == "sparsity":
        return (
            f"--sparsity {budget.value:g} cannot be met: at most {1 - smallest:.3f} of the channels can go. "
            "Ask for less, or keep fewer layers."
        )
    return (
        f"--{budget.kind} {budget.value:g} cannot be met: {smallest:.3f} is the least that can be reached. "
        f"Ask for --{budget.kind} {math.ceil(smallest * 1000) / 1000:g} or more, or keep fewer layers."
    )
