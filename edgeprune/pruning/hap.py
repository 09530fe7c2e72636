"""HAP: Hessian-aware pruning (Yu et al. 2021, arXiv 2101.08940; EHAP, arXiv 2306.07030, eq. 3-8).

Removing channel c's p_c weights w_c changes the loss by about `1/2 w_c' H_cc w_c`; with H_cc replaced by its mean
eigenvalue that is

    S_c = max(Tr(H_cc), 0) / (2 p_c) * ||w_c||^2.

A unit's score is the sum over the output channels that are cut together. The released code keeps negative trace
estimates (`floor = "none"`), ranks each convolution alone and drops the 1/2; a negative estimate is noise around a
small curvature, hence the floor.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.groups import Group
from edgeprune.pruning.score import Scores, sum_members
from edgeprune.spec.recipe import TraceFloor


def scores(module: nn.Module, groups: list[Group], curvature: Curvature, floor: TraceFloor = "zero") -> Scores:
    """Score all units; the standard errors are those of the probes, before the floor."""
    least = 0.0 if floor == "zero" else -math.inf
    parameters = dict(module.named_parameters())

    def importance(weight: str, out: int) -> Tensor:
        w = parameters[weight].detach().cpu().double().movedim(out, 0).flatten(1)
        return w.square().sum(1) / (2 * w.shape[1])

    value, error = {}, {}
    for group in groups:
        floored = sum_members(
            group, lambda w, out: curvature.trace(w).value.double().clamp_min(least) * importance(w, out)
        )
        samples = sum_members(group, lambda w, out: curvature.per_probe[w].double() * importance(w, out))
        value[group.name] = floored
        error[group.name] = samples.std(0) / samples.shape[0] ** 0.5
    return Scores(value, error, curvature.probes)


def certain_share(found: Scores, kept: dict[str, int], confidence: float) -> float:
    """Share of (cut, kept) pairs of one group whose order is certain at the given confidence.

    Pairs are compared within a group, where one is chosen over the other at equal cost; errors of two units are
    taken as independent. 1.0 where nothing is cut.
    """
    assert found.standard_error is not None
    limit = found.limit(confidence)
    certain = pairs = 0
    for name, value in found.value.items():
        order, cut = value.argsort(), len(value) - kept.get(name, len(value))
        gone, stay = order[:cut], order[cut:]
        gap = value[stay][:, None] - value[gone][None, :]
        error = (
            found.standard_error[name][stay][:, None].square() + found.standard_error[name][gone][None, :].square()
        ).sqrt()
        certain += int((gap >= limit * error).sum())
        pairs += gap.numel()
    return certain / pairs if pairs else 1.0
