"""CAMP-HiVe for channels: what a unit's removal costs by a few eigenpairs of the Hessian and a diagonal.

With `H ~ V diag(L) V' + diag(d)` (`curvature.low_rank`) and w_G the weights of a unit's output channels,

    Q_G = [sum_k L_k (v_kG' w_G)^2 + sum_(i in G) d_i w_i^2] / 2,

the whole quadratic form of removing them together: unlike a sum of single weights' costs it has their cross terms.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeprune.curvature.low_rank import LowRank
from edgeprune.model.groups import Group
from edgeprune.pruning.score import Scores, sum_members


def scores(module: nn.Module, groups: list[Group], curved: LowRank) -> Scores:
    """Score all units."""
    parameters = {name: module.get_parameter(name).detach().cpu().double() for name in curved.weights}
    sizes = [parameter.numel() for parameter in parameters.values()]
    parts = zip(parameters, curved.vectors.double().split(sizes), curved.rest.double().split(sizes), strict=True)
    along: dict[str, Tensor] = {}
    beside: dict[str, Tensor] = {}
    for name, vectors, rest in parts:
        w = parameters[name].flatten()
        along[name] = (vectors * w[:, None]).T.view(-1, *parameters[name].shape)  # [k, *weight]
        beside[name] = (rest * w.square()).view(parameters[name].shape)
    value = {}
    for group in groups:
        moved = sum_members(group, lambda w, out: along[w].movedim(out + 1, 1).flatten(2).sum(2))  # [k, units]
        fixed = sum_members(group, lambda w, out: beside[w].movedim(out, 0).flatten(1).sum(1))
        value[group.name] = (curved.values.double() @ moved.square() + fixed) / 2
    return Scores(value)
