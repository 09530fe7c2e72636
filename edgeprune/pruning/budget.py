"""The budget solver: which units to cut so that the kept score is highest under a budget.

Within a group the lowest scores go first, so a solution is one kept count per group. Greedy steps of the target's
channel multiple, cheapest score per saved cost first, until the budget holds; then swaps, a step given back to one
group for steps taken from another, while they raise the kept score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.pruning.cost import Cost, Counts
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.score import Scores
from edgeprune.spec.recipe import Budget

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """`multiple`: widths are cut to multiples of it. `max_sparsity`: largest share of a group that may go."""

    multiple: int
    max_sparsity: float


@dataclass(frozen=True)
class _Table:
    """Per group: the allowed kept counts, descending, and the score lost at each."""

    kept: list[Counts]
    lost: list[Floats]


def choose(groups: list[Group], scores: Scores, cost: Cost, budget: Budget, limits: Limits) -> Cuts:
    """Choose the units to cut.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    table = _table(groups, scores, limits)
    measure, dense = _measure(cost, budget, groups)
    target = _allowed(budget) * dense
    level = np.zeros(len(groups), dtype=np.int64)
    smallest = measure(_counts(table, np.array([len(kept) - 1 for kept in table.kept])))
    if smallest > target:
        raise EdgepruneError(_unreachable(budget, smallest / dense))
    while measure(_counts(table, level)) > target:
        level = _cheapest_step(table, level, measure)
    level = _swap(table, level, measure, target)
    kept = _counts(table, level)
    units: set[int] = set()
    for group, count in zip(groups, kept, strict=True):
        order = scores.value[group.name].argsort(stable=True).tolist()
        units.update(group.units[i] for i in order[: len(group.units) - int(count)])
    return Cuts(
        frozenset(units),
        {group.name: (int(count), len(group.units)) for group, count in zip(groups, kept, strict=True)},
        _reached(cost, kept, groups),
    )


def _table(groups: list[Group], scores: Scores, limits: Limits) -> _Table:
    kept, lost = [], []
    for group in groups:
        total = len(group.units)
        step = _step(group, limits.multiple)
        floor = max(1, math.ceil(total * (1 - limits.max_sparsity)))
        lower = [n for n in range(total - total % step, 0, -step) if floor <= n < total]
        counts = np.array([total, *lower], dtype=np.int64)
        ascending = np.sort(scores.value[group.name].numpy())
        cumulative = np.concatenate([[0.0], np.cumsum(ascending)])
        kept.append(counts)
        lost.append(cumulative[total - counts])
    return _Table(kept, lost)


def _step(group: Group, multiple: int) -> int:
    """The fewest units whose channels are a multiple on every layer's output axis that holds the group.

    A group no wider than the multiple could not be cut at all; it is cut by half the multiple, but not below
    8 channels, under which no runtime's INT8 kernels go.
    """
    step = 1
    for weight in group.producers:
        width = group.out_width(weight)
        narrow = width * len(group.units) <= multiple
        own = max(min(8, multiple), multiple // 2) if narrow else multiple
        step = math.lcm(step, own // math.gcd(own, width))
    return step


def _measure(cost: Cost, budget: Budget, groups: list[Group]) -> tuple[Callable[[Counts], float], float]:
    full = np.array([len(group.units) for group in groups], dtype=np.int64)
    measure = {"macs": cost.macs, "params": cost.params, "sparsity": cost.channels}[budget.kind]
    return measure, measure(full)


def _allowed(budget: Budget) -> float:
    return 1 - budget.value if budget.kind == "sparsity" else budget.value


def _counts(table: _Table, level: Counts) -> Counts:
    return np.array([kept[i] for kept, i in zip(table.kept, level, strict=True)], dtype=np.int64)


def _cheapest_step(table: _Table, level: Counts, measure: Callable[[Counts], float]) -> Counts:
    """One step further in the group where the score lost per cost saved is least."""
    now = measure(_counts(table, level))
    best, best_price = None, math.inf
    for group, i in enumerate(level):
        if i + 1 >= len(table.kept[group]):
            continue
        trial = level.copy()
        trial[group] += 1
        saved = now - measure(_counts(table, trial))
        price = float(table.lost[group][i + 1] - table.lost[group][i]) / max(saved, 1e-9)
        if best is None or price < best_price:
            best, best_price = trial, price
    assert best is not None, "the smallest network was checked against the budget"
    return best


def _swap(table: _Table, level: Counts, measure: Callable[[Counts], float], target: float) -> Counts:
    """Give a step back to one group, and take it from another where need be, while that raises the kept score."""
    improved = True
    while improved:
        improved = False
        for giver in range(len(level)):
            if level[giver] == 0:
                continue
            wider = level.copy()
            wider[giver] -= 1
            gain = float(table.lost[giver][level[giver]] - table.lost[giver][level[giver] - 1])
            best, best_loss = (wider, 0.0) if measure(_counts(table, wider)) <= target else (None, gain)
            for taker in range(len(level)) if best is None else ():
                if taker == giver or level[taker] + 1 >= len(table.kept[taker]):
                    continue
                trial = wider.copy()
                trial[taker] += 1
                loss = float(table.lost[taker][trial[taker]] - table.lost[taker][level[taker]])
                if loss < best_loss - 1e-12 * abs(gain) and measure(_counts(table, trial)) <= target:
                    best, best_loss = trial, loss
            if best is not None and best_loss < gain:
                level, improved = best, True
    return level


def _reached(cost: Cost, kept: Counts, groups: list[Group]) -> dict[str, float]:
    full = np.array([len(group.units) for group in groups], dtype=np.int64)
    return {
        "macs": cost.macs(kept) / cost.macs(full),
        "params": cost.params(kept) / cost.params(full),
        "sparsity": 1 - cost.channels(kept) / cost.channels(full),
    }


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
