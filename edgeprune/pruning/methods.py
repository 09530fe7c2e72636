"""The methods by name; a test keeps the names equal to `spec.recipe.MethodName`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.groups import Group
from edgeprune.pruning import hap, magnitude
from edgeprune.pruning.score import Scores
from edgeprune.spec.recipe import MethodName


def _hap(module: nn.Module, groups: list[Group], curvature: Curvature | None) -> Scores:
    assert curvature is not None, "the pipeline estimates it for methods in NEEDS_CURVATURE"
    return hap.scores(module, groups, curvature)


def _magnitude(module: nn.Module, groups: list[Group], curvature: Curvature | None) -> Scores:
    assert curvature is None
    return magnitude.scores(module, groups)


METHODS: dict[MethodName, Callable[[nn.Module, list[Group], Curvature | None], Scores]] = {
    "hap": _hap,
    "magnitude": _magnitude,
}
NEEDS_CURVATURE: frozenset[MethodName] = frozenset({"hap"})
