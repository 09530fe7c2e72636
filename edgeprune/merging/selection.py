"""Which weights stay in a cycle of CAMP-HiVe: an exact number of them, ranked over all layers.

Every layer keeps a least share, every output at least one weight, and the weights of largest curvature stay whatever
their size; the rest of the number goes to the most significant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError


def schedule(final: float, cycle: int, cycles: int) -> float:
    """The sparsity after one of the cycles (1 to `cycles`): cubic (Zhu and Gupta 2017, arXiv 1710.01878, eq. 1)."""
    return final * (1 - (1 - cycle / cycles) ** 3)


def check_sparsity(shapes: Sequence[torch.Size], sparsity: float, least: float, by_tensor: bool) -> None:
    """Refuse before any work what the floors of the layers will not allow, whatever the weights are.

    Raises:
        EdgepruneError: the text says what may go.
    """
    if by_tensor:
        most = 1 - least
    else:
        total = sum(shape.numel() for shape in shapes)
        most = 1 - sum(max(math.ceil(least * shape.numel()), shape[0]) for shape in shapes) / total
        if total - round(sparsity * total) >= round((1 - most) * total):
            return
    if sparsity > most + 1e-9:
        raise EdgepruneError(_too_much(sparsity, least, most))


def _too_much(sparsity: float, least: float, most: float) -> str:
    return (
        f"a sparsity of {sparsity:g} cannot be reached: every layer keeps {least:g} of its weights, and every output "
        f"one, which makes {most:.3f}. Ask for less, or raise max_layer_sparsity in the recipe."
    )


def select(
    significance: Tensor,
    w: Tensor,
    live: Tensor,
    shapes: Sequence[torch.Size],
    stay: int,
    least: float,
    guarded: Tensor | None = None,
) -> Tensor:
    """Which weights stay, `[n]` bool; exactly `stay` of them.

    Of equal significance the larger weight stays, of equal weights the first.

    Args:
        significance: `[n]`.
        w: `[n]`, the weights.
        live: `[n]` bool; the others went before, and stay away.
        shapes: of the tensors, in the order of the flat vector.
        stay: how many.
        least: share of each tensor that stays.
        guarded: `[n]` bool; these stay as long as there is room.

    Raises:
        EdgepruneError: what must stay of every layer is more than may.
    """
    order = _ranked(significance, w, live)
    must = torch.zeros(len(w), dtype=torch.bool)
    start = 0
    for shape in shapes:
        own = slice(start, start + shape.numel())
        must[own] = _must(order, own, shape, live[own], least)
        start = own.stop
    if int(must.sum()) > stay:
        raise EdgepruneError(_too_much(1 - stay / len(w), least, 1 - int(must.sum()) / len(w)))
    kept = must.clone()
    if guarded is not None:
        first = order[(guarded & ~kept)[order]]
        kept[first[: stay - int(kept.sum())]] = True
    rest = order[~kept[order]]
    kept[rest[: stay - int(kept.sum())]] = True
    return kept


def select_by_tensor(
    significance: Tensor, w: Tensor, live: Tensor, shapes: Sequence[torch.Size], sparsity: float
) -> Tensor:
    """The same share of every tensor goes (the released code), `[n]` bool."""
    order = _ranked(significance, w, live)
    kept = torch.zeros(len(w), dtype=torch.bool)
    start = 0
    for shape in shapes:
        own = order[(order >= start) & (order < start + shape.numel())]
        kept[own[: shape.numel() - round(sparsity * shape.numel())]] = True
        start += shape.numel()
    return kept


def _ranked(significance: Tensor, w: Tensor, live: Tensor) -> Tensor:
    """Indices of the live weights, the most significant first."""
    index = live.nonzero().flatten()
    order = np.lexsort((-w[index].abs().numpy(), -significance[index].numpy()))
    return index[torch.from_numpy(order)]


def _must(order: Tensor, own: slice, shape: torch.Size, live: Tensor, least: float) -> Tensor:
    """What stays of one tensor in any case: its best share, and the best weight of every output."""
    mine = order[(order >= own.start) & (order < own.stop)] - own.start
    must = torch.zeros(shape.numel(), dtype=torch.bool)
    must[mine[: min(len(mine), int(np.ceil(least * shape.numel())))]] = True
    outputs = (mine // shape[1:].numel()).numpy()
    _, first = np.unique(outputs, return_index=True)
    must[mine[torch.from_numpy(first)]] = True
    return must & live
