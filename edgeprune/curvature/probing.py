"""How curvature is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeprune.curvature.half import Precision

Kind = Literal["hessian", "ggn"]
"""Of the loss; or its Gauss-Newton part, which has no negative eigenvalue."""


@dataclass(frozen=True)
class Probing:
    """`probes`: at most. `batch_size`: images at a time at most, fewer where `memory_mb` (megabytes, 1e6) asks it."""

    probes: int = 24
    batch_size: int = 128
    seed: int = 0
    kind: Kind = "hessian"
    precision: Precision = "fp32"
    memory_mb: float = 2000.0
