"""When scores are certain enough, whatever budget will cut along them.

A budget cuts each group at some rank; how sure the cut is, is the share of (cut, kept) pairs whose order is certain
(`hap.certain_share`). Averaged over all ranks at which a group can be cut, a pair counts once for every rank between
its two units. So the curvature is estimated once, and serves every budget.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.pruning.score import Scores

MOST = 1024
"""Units of a group that are looked at, evenly over the ranks: pairs are many."""


def certain_share(found: Scores, confidence: float) -> float:
    """Share of pairs across a cut, of all cuts alike, that are ordered with the given confidence."""
    assert found.standard_error is not None
    limit = found.limit(confidence)
    certain = pairs = 0.0
    for name, value in found.value.items():
        if len(value) < 2:
            continue
        order = _spread(value.argsort())
        each, crossed = _crossings(value[order], found.standard_error[name][order], limit)
        certain += each / (len(order) - 1)
        pairs += crossed / (len(order) - 1)
    return certain / pairs if pairs else 1.0


def _spread(order: Tensor) -> Tensor:
    return order[torch.linspace(0, len(order) - 1, min(len(order), MOST)).round().long()]


def _crossings(value: Tensor, error: Tensor, limit: float) -> tuple[float, float]:
    """Cuts times pairs that they part: those that are certain, and all. `value` ascends."""
    rank = torch.arange(len(value))
    between = (rank[None, :] - rank[:, None]).clamp_min(0)
    gap = value[None, :] - value[:, None]
    doubt = (error[None, :].square() + error[:, None].square()).sqrt()
    return float(between[gap >= limit * doubt].sum()), float(between.sum())
