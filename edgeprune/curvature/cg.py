"""Damped conjugate gradients that say why they stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

IDLE = 10
"""Iterations in a row without progress beyond rounding, after which it stops."""


class Stop(Enum):
    """Why an iteration ended; each value says it in words."""

    SOLVED = "the residual is as small as asked"
    NEGATIVE = "a direction of negative curvature was met: more damping, or the Gauss-Newton matrix, avoids it"
    SPENT = "all the iterations allowed are spent: more of them, more damping or a preconditioner help"
    STALLED = "rounding keeps the solution from getting better"
    BROKEN = "a product is not finite: check the weights and the images"


@dataclass(frozen=True)
class Solution:
    """`x` with `(A + damping I) x` near `b`; `residual` is `||b - (A + damping I) x|| / ||b||`."""

    x: Tensor
    residual: float
    iterations: int
    why: Stop


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor],
    b: Tensor,
    damping: float = 0.0,
    tolerance: float = 1e-4,
    iterations: int = 100,
    start: Tensor | None = None,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """Solve `(A + damping I) x = b` for a symmetric matrix (Hestenes and Stiefel 1952; Steihaug 1983 for the stop).

    Where a direction d has `d' (A + damping I) d <= 0` it stops with what it has, which is the best so far: of a loss
    with gradient -b that is a descent direction, d itself at the first iteration.

    Args:
        multiply: `A` times a vector `[n]`.
        b: `[n]`.
        damping: at least 0.
        tolerance: of the residual, relative to b.
        iterations: at most, one product each.
        start: `[n]`; zero without.
        precondition: an approximate inverse of the damped matrix, symmetric and positive definite.
    """
    size = float(b.norm())
    x = b.new_zeros(b.shape) if start is None else start.clone()
    if size == 0.0:
        return Solution(b.new_zeros(b.shape), 0.0, 0, Stop.SOLVED)
    r = b.clone() if start is None else b - multiply(x) - damping * x
    z = precondition(r) if precondition is not None else r
    d, rz, left, gained, idle = z.clone(), float(r.dot(z)), float(r.norm()), 0.0, 0
    for done in range(iterations):
        if left <= tolerance * size:
            return Solution(x, left / size, done, Stop.SOLVED)
        image = multiply(d) + damping * d
        curved = float(d.dot(image))
        if not math.isfinite(curved):
            return Solution(x, left / size, done + 1, Stop.BROKEN)
        if curved <= 0:
            if done == 0 and start is None:
                return Solution(d, float((r - image).norm()) / size, 1, Stop.NEGATIVE)
            return Solution(x, left / size, done + 1, Stop.NEGATIVE)
        step = rz / curved
        x, r = x + step * d, r - step * image
        left = float(r.norm())
        # The residual goes up and down; what falls at every iteration is x' A x / 2 - b' x, by this much.
        gain = step * rz / 2
        gained += gain
        idle = idle + 1 if gain <= torch.finfo(b.dtype).eps * gained else 0
        if idle >= IDLE:
            return Solution(x, left / size, done + 1, Stop.STALLED)
        z = precondition(r) if precondition is not None else r
        rz, before = float(r.dot(z)), rz
        d = z + (rz / before) * d
    return Solution(x, left / size, iterations, Stop.SOLVED if left <= tolerance * size else Stop.SPENT)
