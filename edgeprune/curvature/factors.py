"""The Hessian's diagonal, weight by weight, from its sums over rows and over columns.

One Hutchinson probe v gives `v * Hv`, whose expectation is the diagonal (Bekas et al. 2007), but for a single weight
hundreds of probes would be needed. Its sums over a row (an output channel) and over a column (an input channel at a
kernel position) are far less noisy, and they are all that there is to know where a layer's curvature is a Kronecker
product A (of its inputs) x G (of its outputs' gradients), as K-FAC has it (Martens & Grosse 2015, arXiv 1503.05671, eq.
1; Grosse & Martens 2016 for convolutions): then

    H_(o,i)(o,i) = G_oo A_ii = row_o * column_i / total.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rows_and_columns(product: Tensor) -> Tensor:
    """Sums of a `[out, ...]` tensor over its rows, then over its columns: `[out + columns]`."""
    matrix = product.flatten(1)
    return torch.cat([matrix.sum(1), matrix.sum(0)])


def diagonal(samples: Tensor, shape: torch.Size) -> Tensor:
    """The diagonal for a weight of that shape, from samples `[probes, out + columns]` of `rows_and_columns`.

    Never negative: a negative estimate is noise around a small curvature.
    """
    means = samples.double().mean(0)
    rows, columns = means[: shape[0]], means[shape[0] :]
    total = rows.sum().clamp_min(0)
    rows, columns = (part.clamp_min(0) / part.clamp_min(0).sum().clamp_min(1e-300) for part in (rows, columns))
    return (total * rows[:, None] * columns[None, :]).view(shape)
