"""Eigenpairs of a symmetric matrix that is only multiplied with: subspace iteration and Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Multiply = Callable[[Tensor], Tensor]
"""`[n, k]` to `A` times it."""
Which = Literal["largest", "magnitude"]
"""The algebraically largest, or those of largest absolute value."""


@dataclass(frozen=True)
class Eigenpairs:
    """`values` `[k]`, in descending order of what was asked for; `vectors` `[n, k]`, orthonormal."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    """`||A v - lambda v|| / max |lambda|` of each pair, `[k]`."""
    products: int
    """Vectors that were multiplied."""
    converged: bool


def block_power(
    multiply: Multiply,
    size: int,
    count: int,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    rounds: int = 100,
    extra: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Eigenpairs:
    """Pairs of largest absolute value by subspace iteration with Rayleigh-Ritz (Saad 2011, algorithm 5.3).

    Pairs that have converged are locked: the others go on in their orthogonal complement (deflation), and cost no more
    products.

    Args:
        multiply: the matrix.
        size: its side.
        count: how many pairs.
        start: `[size, m]`, where to start from, as the vectors of a network before it was trained on; filled up.
        tolerance: of the residuals.
        rounds: at most.
        extra: vectors iterated beside those that are asked for: they speed up the last ones.
        seed: of the vectors that fill up.
        dtype: to compute in.
    """
    count = min(count, size)
    width = min(count + extra, size)
    block = _orthonormal(_filled(start, size, width, seed, dtype), None)
    locked, values = block[:, :0], block.new_zeros(0)
    residuals, products, tiny = block.new_zeros(0), 0, torch.finfo(dtype).tiny
    for _ in range(rounds):
        image = multiply(block).to(block)
        products += block.shape[1]
        image = image - locked @ (locked.T @ image)
        small = block.T @ image
        found, turn = torch.linalg.eigh((small + small.T) / 2)
        order = found.abs().argsort(descending=True)
        found, turn = found[order], turn[:, order]
        ritz, image = block @ turn, image @ turn
        largest = max(float(found.abs().max()), float(values.abs().max()) if len(values) else 0.0, tiny)
        errors = (image - ritz * found).norm(dim=0) / largest
        good = _leading(errors <= tolerance, count - len(values))
        if good:
            locked = torch.cat([locked, ritz[:, :good]], 1)
            values, residuals = torch.cat([values, found[:good]]), torch.cat([residuals, errors[:good]])
        if len(values) == count:
            break
        block = _orthonormal(image[:, good:], locked)
    else:
        rest = count - len(values)
        locked = torch.cat([locked, ritz[:, good : good + rest]], 1)
        values = torch.cat([values, found[good : good + rest]])
        residuals = torch.cat([residuals, errors[good : good + rest]])
    order = values.abs().argsort(descending=True)
    done = bool((residuals <= tolerance).all())
    return Eigenpairs(values[order], locked[:, order], residuals[order], products, done)


def lanczos(
    multiply: Multiply,
    size: int,
    count: int,
    which: Which = "magnitude",
    start: Tensor | None = None,
    deflate: Tensor | None = None,
    tolerance: float = 1e-3,
    steps: int = 100,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Eigenpairs:
    """Extreme pairs by Lanczos' iteration with full reorthogonalisation (Golub and Van Loan 2013, section 10.3).

    Fewer products than `block_power`, at the price of all the vectors of the iteration in memory.

    Args:
        multiply: the matrix.
        size: its side.
        count: how many pairs.
        which: of largest value, or of largest absolute value.
        start: `[size]`, where to start from.
        deflate: orthonormal vectors `[size, m]` that are known: pairs of the rest are found.
        tolerance: of the residuals.
        steps: products at most.
        seed: of the vector to start from.
        dtype: to compute in.
    """
    known = deflate.to(dtype) if deflate is not None else None
    steps = min(steps, size - (known.shape[1] if known is not None else 0))
    basis = Basis(multiply, _filled(start, size, 1, seed, dtype), known)
    while True:
        ended = not basis.step() and not basis.restart(seed + len(basis.alpha))
        values, turn = basis.ritz()
        order = (values.abs() if which == "magnitude" else values).argsort(descending=True)[:count]
        largest = values.abs().max().clamp_min(torch.finfo(dtype).tiny)
        # The residual of a Ritz pair is the next off-diagonal entry times the last entry of its vector.
        residuals = (basis.beta[-1] * turn[-1, order]).abs() / largest
        done = len(order) == count and bool((residuals <= tolerance).all())
        if done or ended or len(basis.alpha) >= steps:
            vectors = basis.vectors[:, : len(basis.alpha)] @ turn[:, order]
            return Eigenpairs(values[order], vectors, residuals, len(basis.alpha), done)


class Basis:
    """Lanczos' iteration: an orthonormal basis in which the matrix is tridiagonal."""

    def __init__(self, multiply: Multiply, start: Tensor, deflate: Tensor | None = None) -> None:
        self._multiply, self._deflate = multiply, deflate
        self.vectors = _orthonormal(start, deflate)
        self.alpha: list[float] = []
        self.beta: list[float] = []

    def step(self) -> bool:
        """Take one product more; False where the basis spans all that the start can reach."""
        last = self.vectors[:, -1:]
        image = self._multiply(last).to(last)
        self.alpha.append(float((last * image).sum()))
        for _ in range(2):  # once is not enough in floating point (Parlett 1998, section 6.9)
            if self._deflate is not None:
                image = image - self._deflate @ (self._deflate.T @ image)
            image = image - self.vectors @ (self.vectors.T @ image)
        self.beta.append(float(image.norm()))
        scale = max(abs(a) for a in self.alpha + self.beta[:-1]) if self.alpha else 1.0
        if self.beta[-1] <= 10 * torch.finfo(image.dtype).eps * max(scale, 1e-300):
            return False
        self.vectors = torch.cat([self.vectors, image / self.beta[-1]], 1)
        return True

    def restart(self, seed: int) -> bool:
        """Go on from a random vector that the basis lacks, uncoupled from it; False where it lacks none.

        Of an eigenvalue that is there more than once an iteration finds one vector.
        """
        known = self.vectors.shape[1] + (self._deflate.shape[1] if self._deflate is not None else 0)
        size = len(self.vectors)
        if known >= size:
            return False
        against = self.vectors if self._deflate is None else torch.cat([self._deflate, self.vectors], 1)
        fresh = _orthonormal(_filled(None, size, 1, seed, self.vectors.dtype).to(against), against)
        self.beta[-1] = 0.0
        self.vectors = torch.cat([self.vectors, fresh], 1)
        return True

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of the tridiagonal matrix, ascending, and its eigenvectors."""
        alpha, beta = torch.tensor(self.alpha, dtype=torch.float64), torch.tensor(self.beta[:-1], dtype=torch.float64)
        values, turn = torch.linalg.eigh(alpha.diag() + beta.diag(1) + beta.diag(-1))
        return values.to(self.vectors), turn.to(self.vectors)


def _filled(start: Tensor | None, size: int, width: int, seed: int, dtype: torch.dtype) -> Tensor:
    """The given vectors, and random ones beside them up to the width."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, width, generator=generator, dtype=torch.float64).to(dtype)
    if start is None:
        return drawn
    given = start.to(dtype).view(size, -1)[:, :width]
    return torch.cat([given, drawn.to(given)[:, given.shape[1] :]], 1)


def _orthonormal(block: Tensor, against: Tensor | None) -> Tensor:
    for _ in range(2):
        if against is not None and against.shape[1]:
            block = block - against @ (against.T @ block)
        block = torch.linalg.qr(block).Q
    return block


def _leading(good: Tensor, most: int) -> int:
    """How many of the first are good, in a row."""
    return min(int(good.long().cumprod(0).sum()), most)
