"""N:M, where the pattern says how much of every layer stays: masks to judge, and nothing to divide."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgeprune.allocation.parts import Kept, Lot, Part
from edgeprune.pruning.patterns import n_of_m
from edgeprune.spec.pattern import Pattern


def nm_lot(scores: Mapping[str, Tensor], pattern: Pattern) -> tuple[Lot, Kept]:
    """Every layer as one part of two units, the weights that stay and those that go, of which the first is kept."""
    parts, ranks = [], {}
    for index, (name, score) in enumerate(scores.items()):
        gone = ~n_of_m(score, pattern.kept, pattern.group)
        shape = tuple(score.shape)
        parts.append(Part(name, np.array([1.0, 0.0]), 1, 1, score.numel() // 2, (shape,), 0))
        ranks[name] = [(index, gone.to(torch.int32))]
    return Lot(tuple(parts), ranks), (1,) * len(parts)
