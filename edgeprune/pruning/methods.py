"""The methods by name; a test keeps the names equal to `spec.methods.MethodName`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.groups import Group
from edgeprune.pruning import amp_hasa, hap, magnitude
from edgeprune.pruning.score import Scores
from edgeprune.spec.methods import MethodName
from edgeprune.spec.recipe import TraceFloor

Score = Callable[[nn.Module, list[Group], Curvature | None, TraceFloor], Scores]


def _hap(module: nn.Module, groups: list[Group], curvature: Curvature | None, floor: TraceFloor) -> Scores:
    assert curvature is not None, "the pipeline estimates it for methods in NEEDS_CURVATURE"
    return hap.scores(module, groups, curvature, floor)


def _magnitude(module: nn.Module, groups: list[Group], curvature: Curvature | None, floor: TraceFloor) -> Scores:
    del curvature, floor
    return magnitude.scores(module, groups)


def _amp_hasa(module: nn.Module, groups: list[Group], curvature: Curvature | None, floor: TraceFloor) -> Scores:
    del floor  # a negative trace counts as none
    assert curvature is not None, "the pipeline estimates it for methods in NEEDS_CURVATURE"
    return amp_hasa.scores(module, groups, curvature)


METHODS: dict[MethodName, Score] = {
    "hap": _hap,
    "magnitude": _magnitude,
    "snows": _magnitude,  # whose part comes after the cut, and asks for no labels
    "amp-hasa": _amp_hasa,
}
NEEDS_CURVATURE: frozenset[MethodName] = frozenset({"hap", "amp-hasa"})
