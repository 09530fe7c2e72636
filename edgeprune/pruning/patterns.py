"""Which weights a mask pattern keeps, given a score per weight; True is kept.

Weights are `[out, in, *kernel]`, scores of the same shape and not negative. `n_of_m` is local to its groups; blocks and
single weights are ranked over all layers together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.spec.pattern import Pattern


def n_of_m(score: Tensor, kept: int, group: int) -> Tensor:
    """Keep the `kept` highest of every `group` consecutive input channels, at each output channel and kernel position.

    The axis is the input channels', as sparse kernels want it (a convolution flattened to a matrix would run the
    groups across kernel positions). Of equal scores the first stays.
    """
    grouped = score.movedim(1, -1).unflatten(-1, (-1, group))
    order = grouped.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(grouped, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
    return mask.flatten(-2).movedim(-1, 1).contiguous()


def lowest(scores: Mapping[str, Tensor], rows: int, zeros: float, most: float) -> dict[str, Tensor]:
    """Drop the blocks of `rows` output channels by one kernel that score least per weight, over all layers.

    `rows` 0: single weights. At least `zeros` of all weights go, the fewest that make it so, and at most `most` of a
    layer's. Of equal scores the first goes.

    Raises:
        EdgepruneError: `most` keeps `zeros` from being reached; the text says what can be.
    """
    blocks = {name: block_scores(score, rows).flatten() for name, score in scores.items()}
    sizes = {name: scores[name].numel() // len(block) for name, block in blocks.items()}
    candidates = {name: _lowest_of_layer(block, math.floor(most * len(block))) for name, block in blocks.items()}
    total = sum(score.numel() for score in scores.values())
    wanted = math.ceil(round(zeros * total, 6))
    size = torch.cat([torch.full((len(index),), sizes[name]) for name, index in candidates.items()])
    if int(size.sum()) < wanted:
        raise EdgepruneError(
            f"a sparsity of {zeros:g} cannot be reached: at most {most:g} of each layer may go, which makes "
            f"{int(size.sum()) / total:.3f}. Ask for less, or raise max_layer_sparsity in the recipe."
        )
    order = torch.cat([blocks[name][index] for name, index in candidates.items()]).argsort(stable=True)
    count = int(torch.searchsorted(size[order].cumsum(0), wanted)) + 1 if wanted else 0
    gone = torch.zeros(len(order), dtype=torch.bool)
    gone[order[:count]] = True
    masks, start = {}, 0
    for name, index in candidates.items():
        block = torch.ones(len(blocks[name]), dtype=torch.bool)
        block[index[gone[start : start + len(index)]]] = False
        masks[name] = spread_blocks(block, scores[name].shape, rows)
        start += len(index)
    return masks


def masks_of(scores: Mapping[str, Tensor], pattern: Pattern, zeros: float, most: float) -> dict[str, Tensor]:
    """The masks of a pattern: weight name -> bool. `zeros` and `most`: see `lowest`; N:M needs neither."""
    if pattern.kind == "n:m":
        return {name: n_of_m(score, pattern.kept, pattern.group) for name, score in scores.items()}
    return lowest(scores, pattern.rows if pattern.kind == "blocks" else 0, zeros, most)


def block_scores(score: Tensor, rows: int) -> Tensor:
    """Mean score of each block `[out / rows, in]`; of single weights, the scores themselves."""
    if not rows:
        return score
    per_kernel = score.flatten(2).mean(2) if score.dim() > 2 else score
    blocks: Tensor = per_kernel.unflatten(0, (-1, rows)).mean(1)
    return blocks


def _lowest_of_layer(block: Tensor, count: int) -> Tensor:
    """Indices of the lowest blocks of one layer, ascending by index; of equal scores the first."""
    return block.argsort(stable=True)[:count].sort().values


def spread_blocks(block: Tensor, shape: torch.Size, rows: int) -> Tensor:
    """From one value per block, flat, to one per weight."""
    if not rows:
        return block.view(shape)
    values = block.view(shape[0] // rows, shape[1]).repeat_interleave(rows, 0)
    return values.view(*values.shape, *[1] * (len(shape) - 2)).expand(shape).contiguous()
