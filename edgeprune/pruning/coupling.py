"""The choice of cuts under either coupling: of groups that go together, or of every layer alone."""

from __future__ import annotations

from edgeprune.model.groups import Group
from edgeprune.pruning import budget as grouped
from edgeprune.pruning import union
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.implants import choose_with_implants
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget


def choose(
    ground: Prunable, scores: Scores, budget: Budget, limits: Limits, free: list[Group], implant_ratio: float = 0.0
) -> Cuts:
    """Solve a budget, cutting free groups only; of these `implant_ratio` become implants, not of layers cut alone.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    whole = frozenset(group.name for group in ground.groups) - {group.name for group in free}
    if ground.coupling == "union":
        return union.choose(ground, scores, budget, limits, whole)
    return choose_with_implants(ground, scores, budget, limits, whole, implant_ratio)


def smallest(ground: Prunable, limits: Limits, scores: Scores) -> dict[str, float]:
    """What the narrowest network reaches; of layers cut alone that depends on which channels are the best."""
    if ground.coupling == "union":
        return union.smallest(ground, scores, limits)
    return grouped.smallest(ground.groups, ground.cost, limits)


def check(ground: Prunable, budget: Budget, limits: Limits) -> None:
    """Refuse, before there are scores, what no scores would make possible.

    Raises:
        EdgepruneError: the budget cannot be met; the text says what can.
    """
    if ground.coupling == "union":
        # Without scores all layers of one width keep the same channels, and the union of those is the least.
        union.choose(ground, grouped.no_scores(ground.groups), budget, limits, frozenset())
    else:
        grouped.check(ground.groups, ground.cost, budget, limits)
