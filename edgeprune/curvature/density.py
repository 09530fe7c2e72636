"""The density of a matrix's eigenvalues by stochastic Lanczos quadrature (Ghorbani et al. 2019, arXiv 1901.10159)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.curvature.eigen import Basis, Multiply


@dataclass(frozen=True)
class Density:
    """`nodes` `[probes, steps]` with `weights` of the same shape, which sum to 1 over each probe's.

    Each probe's nodes are where its Lanczos iteration saw eigenvalues, and the weights how many: a mean over probes of
    `sum w f(node)` estimates `Tr f(A) / n`. Padded with weights of 0 where an iteration ended early.
    """

    nodes: Tensor
    weights: Tensor

    def curve(self, points: int = 200, width: float = 0.01) -> tuple[Tensor, Tensor]:
        """The density on a grid, smeared by a Gaussian of `width` times the spread: values and densities `[points]`."""
        seen = self.nodes[self.weights > 0]
        low, high = float(seen.min()), float(seen.max())
        sigma = max(width * (high - low), 1e-12)
        grid = torch.linspace(low - 3 * sigma, high + 3 * sigma, points, dtype=torch.float64)
        each = torch.exp(-0.5 * ((grid[:, None, None] - self.nodes) / sigma).square()) / (sigma * (2 * torch.pi) ** 0.5)
        return grid, (each * self.weights).sum((1, 2)) / len(self.nodes)


def spectral_density(
    multiply: Multiply,
    size: int,
    probes: int = 4,
    steps: int = 40,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Density:
    """Estimate the density of all eigenvalues of a symmetric matrix.

    Args:
        multiply: the matrix.
        size: its side.
        probes: vectors of independent signs.
        steps: products for each; extremes are resolved first.
        seed: of the probes.
        dtype: to compute in.
    """
    nodes = torch.zeros(probes, steps, dtype=torch.float64)
    weights = torch.zeros(probes, steps, dtype=torch.float64)
    for probe in range(probes):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + probe)
        signs = torch.randint(0, 2, (size, 1), generator=generator).to(dtype) * 2 - 1
        basis = Basis(multiply, signs)
        while len(basis.alpha) < min(steps, size) and basis.step():
            pass
        values, turn = basis.ritz()
        nodes[probe, : len(values)], weights[probe, : len(values)] = values.double(), turn[0].double().square()
    return Density(nodes, weights)
