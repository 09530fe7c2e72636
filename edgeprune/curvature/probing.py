"""How curvature is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgeprune.curvature.half import Precision
from edgeprune.errors import EdgepruneError

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

    def __post_init__(self) -> None:
        choices = {"kind": get_args(Kind), "precision": get_args(Precision)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise EdgepruneError(f"{name}={getattr(self, name)!r} is unknown. Known: {', '.join(known)}.")
        if self.probes < 1 or self.batch_size < 1 or not self.memory_mb > 0:
            raise EdgepruneError(
                f"probes={self.probes}, batch_size={self.batch_size}, memory_mb={self.memory_mb:g}: "
                "all must be above 0."
            )
