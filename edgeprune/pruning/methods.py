"""The methods by name; a test keeps the names equal to `spec.methods.MethodName`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.low_rank import LowRank
from edgeprune.model.groups import Group
from edgeprune.pruning import amp_hasa, camp_hive, hap, magnitude
from edgeprune.pruning.score import Scores
from edgeprune.spec.methods import MethodName
from edgeprune.spec.recipe import TraceFloor

Curved = Curvature | LowRank | None
Score = Callable[[nn.Module, list[Group], Curved, TraceFloor], Scores]


def _camp_hive(module: nn.Module, groups: list[Group], curved: Curved, floor: TraceFloor) -> Scores:
    del floor
    # Where it is to rank by size, nothing is estimated.
    return camp_hive.scores(module, groups, curved) if isinstance(curved, LowRank) else magnitude.scores(module, groups)


def _hap(module: nn.Module, groups: list[Group], curved: Curved, floor: TraceFloor) -> Scores:
    assert isinstance(curved, Curvature), "the pipeline estimates it for methods in NEEDS_CURVATURE"
    return hap.scores(module, groups, curved, floor)


def _magnitude(module: nn.Module, groups: list[Group], curved: Curved, floor: TraceFloor) -> Scores:
    del curved, floor
    return magnitude.scores(module, groups)


def _amp_hasa(module: nn.Module, groups: list[Group], curved: Curved, floor: TraceFloor) -> Scores:
    del floor  # a negative trace counts as none
    assert isinstance(curved, Curvature), "the pipeline estimates it for methods in NEEDS_CURVATURE"
    return amp_hasa.scores(module, groups, curved)


METHODS: dict[MethodName, Score] = {
    "camp-hive": _camp_hive,
    "hap": _hap,
    "magnitude": _magnitude,
    "snows": _magnitude,  # whose part comes after the cut, and asks for no labels
    "amp-hasa": _amp_hasa,
}
NEEDS_CURVATURE: frozenset[MethodName] = frozenset({"hap", "amp-hasa"})
"""Those that score by traces."""
