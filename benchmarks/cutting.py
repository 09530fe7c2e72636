"""Channels cut under a budget of multiply-adds, as the chain does it by its defaults."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from edgeprune.compact.apply import Compacted, compact_soundly
from edgeprune.compact.sensitivity import before_training, sensitivities
from edgeprune.model.traced import Traced
from edgeprune.pruning.budget import choose
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget


def cut_channels(
    dense: Traced, ground: Prunable, scored: Scores, multiple: int, left: float, x: Tensor, trained: bool
) -> Compacted:
    """Cut by scores and measured costs to a share `left`; `x`: calibration images; `trained`: afterwards."""
    limits = Limits(multiple, 0.95)
    curves = sensitivities(dense, ground.found, ground.groups, scored, limits, x)
    measured = replace(scored, measured=before_training(curves) if trained else curves)
    return compact_soundly(
        dense,
        ground.found,
        ground.groups,
        lambda free: choose(free, measured, ground.cost, Budget(macs=left), limits),
        x[:8],
    )
