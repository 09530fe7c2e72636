"""Scores of single weights, for mask patterns; a test keeps the names equal to `spec.methods.ScoreName`.

`magnitude`: |w|.
`hap`: the second-order cost of a removal, `w^2 H_ww / 2` (LeCun et al. 1990; of HAP, arXiv 2101.08940, the case of a
group of one weight). H_ww is not the mean over a channel as for channel cuts, which would cancel within the groups of
N:M and leave magnitude: it is the Kronecker-factored diagonal of `curvature.weights`. Within N:M that comes to the mean
square of the input that a weight multiplies.
`wanda`: |w| times the norm of its input, compared within an output channel (Sun et al. 2024, arXiv 2306.11695, eq. 1).
`obs`: the layer's output error that a removal costs once the other weights make up for it, `w^2 / [A^-1]_ii` with A the
second moments of the inputs (Hassibi and Stork 1993), compared within a layer.

Scores that are compared within a part only become ranks, in 0..1, so that every part loses the same share.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgeprune.curvature.weights import WeightCurvature
from edgeprune.spec.methods import ScoreName

WeightScores = Callable[[nn.Module, tuple[str, ...], WeightCurvature | None], dict[str, Tensor]]


def _magnitude(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    del curvature
    return {name: _weight(module, name).abs() for name in weights}


def _hap(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    assert curvature is not None, "the pipeline estimates it"
    scores = {}
    for name in weights:
        w = _weight(module, name).double()
        scores[name] = w.square() * curvature.diagonal(name, w.shape) / 2
    return scores


def _wanda(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    assert curvature is not None, "the pipeline observes the inputs"
    return {
        name: _ranks((_weight(module, name).double().abs() * curvature.inputs[name].double().sqrt()).flatten(1)).view(
            module.get_parameter(name).shape
        )
        for name in weights
    }


def _obs(module: nn.Module, weights: tuple[str, ...], curvature: WeightCurvature | None) -> dict[str, Tensor]:
    assert curvature is not None, "the pipeline observes the inputs"
    return {
        name: _ranks((_weight(module, name).double().square() * curvature.inputs[name].double()).flatten()[None]).view(
            module.get_parameter(name).shape
        )
        for name in weights
    }


def _weight(module: nn.Module, name: str) -> Tensor:
    return module.get_parameter(name).detach().cpu()


def _ranks(scores: Tensor) -> Tensor:
    """Of each row's `[rows, n]` scores, the place in their order as a share; what is not finite stays so."""
    order = scores.argsort(dim=1, stable=True)
    places = torch.arange(scores.shape[1], dtype=torch.float64).expand_as(scores)
    ranks = torch.empty_like(places).scatter_(1, order, places) / scores.shape[1]
    return torch.where(scores.isfinite(), ranks, scores)


WEIGHT_SCORES: dict[ScoreName, WeightScores] = {"hap": _hap, "magnitude": _magnitude, "wanda": _wanda, "obs": _obs}
