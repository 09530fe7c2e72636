"""Magnitude: the baseline. The L2 norm of a channel's weights, relative to its layer's mean norm.

Norms of different layers have different scales (a layer before a BatchNorm can be rescaled freely), hence the
division; a unit's score is the mean over the output channels that are cut together.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeprune.model.groups import Group
from edgeprune.pruning.score import Scores, sum_members


def scores(module: nn.Module, groups: list[Group]) -> Scores:
    """Score all units; needs no data."""
    parameters = dict(module.named_parameters())

    def norm(weight: str, out: int) -> Tensor:
        norms = parameters[weight].detach().cpu().double().movedim(out, 0).flatten(1).norm(dim=1)
        relative: Tensor = norms / norms.mean().clamp_min(1e-30)
        return relative

    return Scores(
        {
            group.name: sum_members(group, norm) / sum(group.out_width(weight) for weight in group.producers)
            for group in groups
        }
    )
