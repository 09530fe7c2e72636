"""Scores: what cutting each unit of each group is predicted to cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from scipy.special import stdtrit
from torch import Tensor

from edgeprune.model.groups import Group


@dataclass(frozen=True)
class Curve:
    """What was measured of a group: numbers of units kept, ascending, and the loss at each, descending to 0."""

    kept: tuple[int, ...]
    lost: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """`value`: group name -> float64 `[units]`. `standard_error` likewise, None where the score is exact.

    `samples`: how many the standard errors are of, None where they are known. `measured`: group name -> what its cuts
    were found to cost (`compact.sensitivity`): the scores say which units of a group go first, and this how many.
    """

    value: dict[str, Tensor]
    standard_error: dict[str, Tensor] | None = None
    samples: int | None = None
    measured: dict[str, Curve] = field(default_factory=dict)

    def limit(self, confidence: float) -> float:
        """How many standard errors of a difference make its sign certain: Student's t, one-sided."""
        freedom = self.samples - 1 if self.samples is not None else math.inf
        return float(stdtrit(freedom, confidence))


def sum_members(group: Group, per_channel: Callable[[str, int], Tensor]) -> Tensor:
    """Sum a quantity per output channel over a unit: `[..., units]` from `[..., out]` of each weight."""
    total = torch.zeros(len(group.units), dtype=torch.float64)
    for weight in group.producers:
        places = group.places[(weight, group.out_axes[weight])]
        total = total + per_channel(weight, group.out_axes[weight]).double()[..., places].sum(-1)
    return total
