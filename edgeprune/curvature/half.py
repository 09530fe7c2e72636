"""Half precision whose scale adapts (EHAP, arXiv 2306.07030, algorithm 2).

Forward and both backward passes run under autocast; what is summed up is float32. Half precision holds 2^-24 to 65,504,
so gradients are multiplied by a scale that is divided out again. The paper sets it once, to 2^8, by hand; here it is
halved where a product overflows, and that product is computed anew, so that no probe is lost; and raised where many of
a product's entries are zero and a larger scale makes them fewer. (The released code divides its scale by 2^8 at every
probe, so that the first one alone counts.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError

Precision = Literal["fp32", "half", "bf16"]
FIRST, LEAST, MOST = 2.0**8, 2.0**-40, 2.0**40
ZEROS = 0.1
"""Share of zero entries above which a product is looked at for underflow."""
RISE, FEWER = 2.0**4, 0.9
"""A rise helps where it leaves less than this share of the zeros."""


def half_of(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type to compute in, None for the parameters' own: fp16 on CUDA, bf16 elsewhere and on request."""
    if precision == "fp32":
        return None
    return torch.float16 if precision == "half" and device.type == "cuda" else torch.bfloat16


def autocast(half: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, half) if half is not None else nullcontext()


@dataclass
class Scale:
    """What gradients are multiplied by. Without `half` it is 1, and a product that is not finite is an error."""

    half: torch.dtype | None = None
    value: float = field(default=FIRST)
    overflows: int = 0
    """Products that were computed again at a smaller scale."""
    underflows: int = 0
    """Times that the scale was raised."""
    settled: bool = False
    """Whether a rise was seen not to help."""

    def __post_init__(self) -> None:
        if self.half is None:
            self.value, self.settled = 1.0, True

    def finite(self, compute: Callable[[float], list[Tensor]], power: int = 1) -> list[Tensor]:
        """Return `compute(1)` by way of `compute(scale) / scale^power`, which is how `compute` goes with its argument.

        Raises:
            EdgepruneError: nothing finite comes out at any scale.
        """
        found = compute(self.value)
        while not _all_finite(found):
            if self.half is None or self.value <= LEAST:
                raise EdgepruneError("the curvature is not finite. Check the weights and the images.")
            self.value /= 2
            self.overflows += 1
            self.settled = True
            found = compute(self.value)
        while not self.settled:
            zeros = _zeros(found)
            if zeros <= ZEROS or self.value >= MOST:
                self.settled = True
                break
            raised = compute(RISE * self.value)
            self.settled = not _all_finite(raised) or _zeros(raised) > FEWER * zeros
            if not self.settled:
                self.value, found = RISE * self.value, raised
                self.underflows += 1
        return found if self.value == 1.0 else [tensor.float() / self.value**power for tensor in found]


def _all_finite(tensors: list[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _zeros(tensors: list[Tensor]) -> float:
    count = sum(tensor.numel() for tensor in tensors)
    return sum(int((tensor == 0).sum()) for tensor in tensors) / count
