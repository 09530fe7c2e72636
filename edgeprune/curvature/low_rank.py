"""The Hessian by the weights that are live, as a few eigenpairs and a diagonal: `H ~ V diag(values) V' + diag(rest)`.

The eigenpairs are those of largest positive eigenvalue, by block power iteration on exact products (about as many as
there are classes carry most of a classifier's curvature; Sagun et al. 2018, arXiv 1706.04454). The diagonal is what the
Fisher information (`curvature.fisher`) has beyond them, and nowhere less than their mean diagonal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from edgeprune.curvature.eigen import block_power
from edgeprune.curvature.fisher import fisher_diagonal
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent

Remainder = Literal["fisher", "mean"]
"""The diagonal beside the eigenpairs: of the Fisher information, or their own mean everywhere."""
TOLERANCE, ROUNDS = 0.03, 6
"""What ranks weights need not be exact: their costs differ by decades."""


@dataclass(frozen=True)
class LowRank:
    """`values` `[k]`, positive, descending; `vectors` `[n, k]`, orthonormal, zero where a weight is dead; `rest` `[n]`.

    `weights`: the parameters of which n is made, in order. `products`: Hessian-vector products that it took.
    `residual`: the largest of the pairs, relative to the largest eigenvalue.
    """

    values: Tensor
    vectors: Tensor
    rest: Tensor
    weights: tuple[str, ...]
    products: int = 0
    residual: float = 0.0

    def diagonal(self) -> Tensor:
        """That of the low-rank part, `[n]`."""
        return (self.vectors.square() * self.values).sum(1)


def low_rank(
    traced: Traced,
    weights: Sequence[str],
    live: Tensor,
    x: Tensor,
    y: Tensor,
    count: int,
    probing: Probing | None = None,
    remainder: Remainder = "fisher",
    start: Tensor | None = None,
    by_batch: bool = True,
    tick: Tick = silent,
) -> LowRank:
    """Find the eigenpairs and the diagonal.

    Args:
        traced: the network; it is not changed.
        weights: names of its parameters, in the order of a flat vector.
        live: `[n]` bool; the other weights are held at zero.
        x: images `[m, ...]`.
        y: labels `[m]`.
        count: eigenpairs at most; those that are not positive are left out.
        probing: memory, batch size, seed and matrix.
        remainder: what the diagonal is.
        start: `[n, k]`, vectors to start from, as those of the network before it was pruned further.
        by_batch: BatchNorm's statistics are those of the batch, as they will be re-estimated.
        tick: told of the products.
    """
    probing = probing or Probing()
    matrix, mask = Matrix(traced, weights, x, y, probing, by_batch=by_batch), live.view(-1, 1)
    done, most = 0, (count + 2) * ROUNDS

    def multiply(block: Tensor) -> Tensor:
        nonlocal done
        found = matrix.product(block * mask) * mask
        done += block.shape[1]
        tick("eigenpairs", done, most)
        return found

    held = start * mask if start is not None else None
    found = block_power(multiply, matrix.size, count, held, TOLERANCE, ROUNDS, seed=probing.seed)
    tick("eigenpairs", most, most)
    positive = found.values > 0
    values, vectors = found.values[positive].cpu(), (found.vectors[:, positive] * mask).cpu()
    diagonal = (vectors.square() * values).sum(1)
    rest = torch.full_like(diagonal, float(diagonal[live].mean()))
    if remainder == "fisher":
        fisher = fisher_diagonal(traced, weights, x, y, probing, tick=tick)
        flat = torch.cat([fisher[name].value.flatten() for name in weights]).to(rest)
        rest = torch.maximum(flat - diagonal, rest)
    return LowRank(values, vectors, rest, tuple(weights), found.products, float(found.residuals.max()))


def save_low_rank(found: LowRank, path: Path) -> None:
    """Write as safetensors; the caller makes it atomic."""
    tensors = {"values": found.values, "vectors": found.vectors, "rest": found.rest}
    words = {
        "edgeprune": "low rank",
        "weights": json.dumps(found.weights),
        "products": str(found.products),
        "residual": repr(found.residual),
    }
    path.write_bytes(to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=words))


def load_low_rank(path: Path) -> LowRank:
    """Read what `save_low_rank` wrote."""
    with safe_open(path, framework="pt") as file:
        words = file.metadata()
        values, vectors, rest = (file.get_tensor(name) for name in ("values", "vectors", "rest"))
    weights = tuple(json.loads(words["weights"]))
    return LowRank(values, vectors, rest, weights, int(words["products"]), float(words["residual"]))
