"""The diagonal of the loss's Hessian or Gauss-Newton matrix, by Hutchinson's probes.

`v * (A v)` has expectation `diag(A)` for a vector v of independent signs (Bekas et al. 2007). Its variance is the sum
of squares of the rest of the row: of a network's weights most estimates are noise at the usual counts of probes.
`fisher` estimates the same with far less of it, where the Gauss-Newton matrix will do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeprune.curvature.curvature import Estimate
from edgeprune.curvature.matrix import Matrix, signs
from edgeprune.progress import Tick, silent


def diagonal(matrix: Matrix, probes: int, seed: int = 0, tick: Tick = silent) -> dict[str, Estimate]:
    """Estimate the diagonal: weight name -> estimate in its shape, float64, with the standard error over the probes.

    Args:
        matrix: of which.
        probes: at least 2.
        seed: of the probes.
        tick: told how far it is.
    """
    like = [*matrix.ground.weights.values()]
    mean = [torch.zeros(w.shape, dtype=torch.float64) for w in like]
    squares = [torch.zeros(w.shape, dtype=torch.float64) for w in like]
    for probe in range(probes):
        sample = [torch.zeros(w.shape, dtype=torch.float64) for w in like]

        def add(_: int, v: list[Tensor], av: list[Tensor], share: float, into: list[Tensor] = sample) -> None:
            for total, left, right in zip(into, v, av, strict=True):
                total += (left * right).double().cpu() * share

        matrix.walk(1, lambda _, n=probe: signs(like, seed, n), add)  # type: ignore[misc]
        matrix.team.add_up(sample)
        for total, square, one in zip(mean, squares, sample, strict=True):
            total += one / probes
            square += one.square() / probes
        tick("diagonal", probe + 1, probes)
    return {
        name: Estimate(value, ((square - value.square()).clamp_min(0) / (probes - 1)).sqrt(), probes)
        for name, value, square in zip(matrix.names, mean, squares, strict=True)
    }
