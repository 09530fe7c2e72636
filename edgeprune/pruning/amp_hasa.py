"""AMP-HASA's score: magnitude, weighted by curvature, `S = |w| exp(strength h)`.

The document prints `|w| exp(-strength |H|)`, which prunes first what the loss depends on most, while its words ask for
the opposite: `corrected` follows the words, `literal` the formula. h is put on a scale that does not depend on the
loss's, in one of these forms:

`power`  the log of itself over its mean, so `S = |w| (h / mean)^strength`; with a strength of 1/2 the order is that of
         Optimal Brain Damage (LeCun et al. 1990), `w^2 h`;
`rank`   its rank among all weights, 0 to 1: no outlier counts for more than e^strength;
`mean`   itself over its mean, the exponent being cut off at 8, as curvature has a heavy tail;
`raw`    itself, as printed: what it does depends on the unit of the loss.

The curvature of a weight is, but for correlations, what its input has of it times what its output has. The second
factor is shared by all weights of an output, so it starves whole outputs long after the curvature of the dense network
has ceased to say what they are worth. `pooled` curvature is the mean over a layer's outputs, where it is out of play.

Of channels the magnitude is the norm of a unit's weights, and h their mean curvature, the unit's share of the trace
over the number of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.groups import Group
from edgeprune.pruning.score import Scores, sum_members
from edgeprune.spec.methods import Form, Sign

MOST_EXPONENT = 8.0
TINY = 1e-30


@dataclass(frozen=True)
class Weighing:
    """How curvature counts; `strength` is the formula's lambda. `pooled`: single weights have the mean over outputs."""

    form: Form = "power"
    sign: Sign = "corrected"
    strength: float = 0.25
    pooled: bool = True


def weight_scores(
    module: nn.Module,
    diagonals: Mapping[str, Tensor],
    weighing: Weighing | None = None,
    live: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Score single weights: name -> float64 of its shape.

    Args:
        module: the network.
        diagonals: the curvature of each weight, in the same shapes.
        weighing: how it counts.
        live: masks of weights that were not pruned before; the others score zero.
    """
    weighing = weighing or Weighing()
    h = torch.cat([(_pooled(diagonal) if weighing.pooled else diagonal).flatten() for diagonal in diagonals.values()])
    counts = torch.cat([live[name].flatten() for name in diagonals]) if live else torch.ones(len(h), dtype=torch.bool)
    factors = torch.zeros(len(h), dtype=torch.float64)
    factors[counts] = factor(h[counts], weighing)
    parts = factors.split([diagonal.numel() for diagonal in diagonals.values()])
    return {
        name: module.get_parameter(name).detach().cpu().double().abs() * part.view(diagonals[name].shape)
        for name, part in zip(diagonals, parts, strict=True)
    }


def _pooled(diagonal: Tensor) -> Tensor:
    """The mean over outputs, the first axis, for each of them."""
    return diagonal.clamp_min(0).mean(0, keepdim=True).expand_as(diagonal)


def scores(module: nn.Module, groups: list[Group], curvature: Curvature, weighing: Weighing | None = None) -> Scores:
    """Score the units of channel groups, by the traces of their output channels."""
    weighing = weighing or Weighing()
    parameters = dict(module.named_parameters())

    def squares(weight: str, out: int) -> Tensor:
        return parameters[weight].detach().cpu().double().movedim(out, 0).flatten(1).square().sum(1)

    def sizes(weight: str, out: int) -> Tensor:
        rows = parameters[weight].movedim(out, 0).flatten(1)
        return torch.full((len(rows),), float(rows.shape[1]), dtype=torch.float64)

    norms = [sum_members(group, squares).sqrt() for group in groups]
    means = [
        sum_members(group, lambda weight, _: curvature.trace(weight).value) / sum_members(group, sizes)
        for group in groups
    ]
    parts = factor(torch.cat(means), weighing).split([len(norm) for norm in norms])
    return Scores({group.name: norm * part for group, norm, part in zip(groups, norms, parts, strict=True)})


def factor(h: Tensor, weighing: Weighing) -> Tensor:
    """What magnitudes are multiplied by, float64 `[n]`, given all curvatures; a negative one is noise, and zero."""
    strength = weighing.strength if weighing.sign == "corrected" else -weighing.strength
    return FORMS[weighing.form](h.double().clamp_min(0), strength)


def _power(h: Tensor, strength: float) -> Tensor:
    return (h / h.mean().clamp_min(TINY)).clamp_min(TINY).pow(strength)


def _rank(h: Tensor, strength: float) -> Tensor:
    """Equal curvatures have the mean of their ranks."""
    places = torch.from_numpy(rankdata(h.numpy(), "average"))
    return ((places - 1) / max(len(h) - 1, 1) * strength).exp()


def _mean(h: Tensor, strength: float) -> Tensor:
    return (h / h.mean().clamp_min(TINY) * strength).clamp(-MOST_EXPONENT, MOST_EXPONENT).exp()


def _raw(h: Tensor, strength: float) -> Tensor:
    return (h * strength).clamp(-100, 100).exp()


FORMS: dict[Form, Callable[[Tensor, float], Tensor]] = {"power": _power, "rank": _rank, "mean": _mean, "raw": _raw}
