"""Damped conjugate gradients that say why they stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Stop(Enum):
    """Why an iteration ended; each value says it in words."""

    SOLVED = "the residual is as small as asked"
    NEGATIVE = "a direction of negative curvature was met: more damping, or the Gauss-Newton matrix, avoids it"
    SPENT = "all the iterations allowed are spent: more of them, more damping or a preconditioner help"
    STALLED = "rounding keeps the residual from falling further"


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
    d, rz, least, idle = z.clone(), float(r.dot(z)), float(r.norm()), 0
    for done in range(iterations):
        if float(r.norm()) <= tolerance * size:
            return Solution(x, float(r.norm()) / size, done, Stop.SOLVED)
        image = multiply(d) + damping * d
        curved = float(d.dot(image))
        if curved <= 0:
            first = d.clone() if done == 0 and start is None else x
            return Solution(first, float(r.norm()) / size, done + 1, Stop.NEGATIVE)
        step = rz / curved
        x, r = x + step * d, r - step * image
        idle = 0 if float(r.norm()) < least else idle + 1
        least = min(least, float(r.norm()))
        if idle >= 20:
            return Solution(x, float(r.norm()) / size, done + 1, Stop.STALLED)
        z = precondition(r) if precondition is not None else r
        rz, before = float(r.dot(z)), rz
        d = z + (rz / before) * d
    reached = float(r.norm()) / size
    return Solution(x, reached, iterations, Stop.SOLVED if reached <= tolerance else Stop.SPENT)
