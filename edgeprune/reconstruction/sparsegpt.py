"""SparseGPT: masks and weights of a layer column by column (Frantar and Alistarh 2023, arXiv 2301.00774, algorithm 1).

The weights that a column loses are made up for by those to its right, by the Cholesky factor of the inverse of the
layer's input moments: Optimal Brain Surgeon (Hassibi and Stork 1993) with one order of columns for all rows. Which go
is decided as the columns are reached, by `w^2 / [H^-1]_jj` of the weights as they are then.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgeprune.spec.pattern import Pattern

DAMPING = 0.01
"""Of the mean diagonal, as the paper's code has it."""
BLOCK = 128
"""Columns among which single weights are ranked together."""


def sparsegpt(weight: Tensor, inputs: Tensor, pattern: Pattern, zeros: float) -> tuple[Tensor, Tensor]:
    """Prune one layer; returns its new weight and the bool mask of what stays, both of its shape.

    Args:
        weight: `[out, in, *kernel]`.
        inputs: second moments of what it reads, `[groups, K, K]`, in the order of the weight's axes after the first.
        pattern: N:M along the input channels at each kernel position, or single weights.
        zeros: share of the layer's weights that go, for single weights.
    """
    out, channels = weight.shape[:2]
    places = weight[0, 0].numel()
    # Consecutive columns are to be input channels at one kernel position.
    order = torch.arange(channels * places).view(channels, places).T.reshape(-1)
    back = order.argsort()
    rows = torch.empty_like(weight.flatten(1), dtype=torch.float64)
    masks = torch.empty(weight.flatten(1).shape, dtype=torch.bool, device=weight.device)
    for group, part in enumerate(torch.arange(out).chunk(len(inputs))):
        w = weight.flatten(1)[part][:, order].double()
        h = inputs[group].to(w)[order][:, order]
        found, stays = _columns(w, h, pattern, zeros)
        rows[part], masks[part] = found[:, back], stays[:, back]
    return rows.view(weight.shape).to(weight.dtype), masks.view(weight.shape)


def _columns(w: Tensor, h: Tensor, pattern: Pattern, zeros: float) -> tuple[Tensor, Tensor]:
    w, size = w.clone(), w.shape[1]
    diagonal = h.diagonal()
    dead = diagonal == 0
    h = h + torch.diag(DAMPING * diagonal.mean() + dead.double())
    w[:, dead] = 0
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    step = pattern.group if pattern.kind == "n:m" else BLOCK
    stays = torch.ones_like(w, dtype=torch.bool)
    for start in range(0, size, step):
        columns = slice(start, min(start + step, size))
        saliency = w[:, columns].square() / upper.diagonal()[columns].square()
        stays[:, columns] = _best(saliency, pattern, zeros)
        for j in range(columns.start, columns.stop):
            error = torch.where(stays[:, j], 0.0, w[:, j]) / upper[j, j]
            w[:, j:] -= error[:, None] * upper[j, j:]
            w[:, j] = torch.where(stays[:, j], w[:, j], 0.0)
    return w, stays


def _best(saliency: Tensor, pattern: Pattern, zeros: float) -> Tensor:
    """Of one block of columns, which weights stay: by row for N:M, of the whole block for single weights."""
    if pattern.kind == "n:m":
        best = saliency.argsort(dim=1, descending=True, stable=True)[:, : pattern.kept]
        return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, best, True)
    gone = saliency.flatten().argsort(stable=True)[: math.floor(zeros * saliency.numel())]
    flat = torch.ones(saliency.numel(), dtype=torch.bool, device=saliency.device)
    flat[gone] = False
    return flat.view(saliency.shape)
