"""Scores of single weights, for mask patterns; a test keeps the names equal to `spec.recipe.MethodName`.

`magnitude`: |w|.
`hap`: the second-order cost of a removal, `w^2 H_ww / 2` (LeCun et al. 1990; of HAP, arXiv 2101.08940, the case of a
group of one weight). H_ww is not the mean over a channel as for channel cuts, which would cancel within the groups of
N:M and leave magnitude: it is the Kronecker-factored diagonal of `curvature.weights`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgeprune.curvature.weights import WeightCurvature
from edgeprune.spec.recipe import MethodName

WeightScores = Callable[[nn.Module, tuple[str, ...], WeightCurvature | None], dict[str, Tensor]]


def _magnitude(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    del curvature
    return {name: module.get_parameter(name).detach().cpu().abs() for name in weights}


def _hap(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    assert curvature is not None, "the pipeline estimates it for methods in NEEDS_CURVATURE"
    scores = {}
    for name in weights:
        w = module.get_parameter(name).detach().cpu().double()
        scores[name] = w.square() * curvature.diagonal(name, w.shape) / 2
    return scores


WEIGHT_SCORES: dict[MethodName, WeightScores] = {"hap": _hap, "magnitude": _magnitude}
