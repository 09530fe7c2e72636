"""Cross-layer equalisation: what one layer writes and the next one reads is scaled per channel to even ranges.

Where only a ReLU, or operators that move values within channels, lies between two layers, a channel may be divided by
s behind the first and multiplied by s before the second: the network computes the same, and no channel's range hides
the others under one scale per tensor. s = sqrt(r1 / r2) makes the channel's ranges of weights equal in both (Nagel et
al. 2019, arXiv 1906.04721, eq. 11, with s the reciprocal of theirs). ReLU6 is not passed: it has no scale to take.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgeprune.model.attributes import attribute
from edgeprune.model.operators import convolution_arguments, only_reader
from edgeprune.model.traced import Traced
from edgeprune.quantization.keeps import packet

ATEN = torch.ops.aten
WITHIN_CHANNELS = {ATEN.relu, ATEN.relu_, ATEN.max_pool2d, ATEN.avg_pool2d, ATEN.adaptive_avg_pool2d, ATEN.dropout}
ROUNDS, STILL = 20, 1e-3
"""Chains of layers take several passes; the largest change of a channel's scale that counts as none."""
LEAST = 1e-8
"""A range below this is a dead channel's, which stays as it is."""


def equalize(traced: Traced) -> int:
    """Scale the weights of a network without BatchNorm, in place; returns the number of pairs of layers."""
    module = traced.module
    pairs = [pair for node in module.graph.nodes if (pair := _pair(module, node)) is not None]
    with torch.no_grad():
        for _ in range(ROUNDS):
            moved = [_even(module, *pair) for pair in pairs]
            if max(moved, default=0.0) < STILL:
                break
    return len(pairs)


def _pair(module: fx.GraphModule, first: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """A convolution or linear layer and the one that alone reads its channels."""
    if not _plain(first):
        return None
    node = first
    while len(node.users) == 1:
        node = next(iter(node.users))
        if _plain(node):
            # A linear layer behind a convolution reads places, not channels.
            same = (packet(node) == ATEN.linear) == (packet(first) == ATEN.linear)
            return (first, node) if same and _groups(module, node) is not None else None
        if packet(node) not in WITHIN_CHANNELS:
            return None
    return None


def _plain(node: fx.Node) -> bool:
    """A layer whose weight and bias are its own."""
    if packet(node) not in (ATEN.conv1d, ATEN.conv2d, ATEN.conv3d, ATEN.linear):
        return False
    return all(only_reader(arg) for arg in node.args[1:3] if arg is not None)


def _groups(module: fx.GraphModule, node: fx.Node) -> int | None:
    """1, or the channels of a depthwise convolution; None for what lies between."""
    if packet(node) == ATEN.linear:
        return 1
    _, weight, _, groups = convolution_arguments(node)
    shape = attribute(module, str(weight.target)).shape
    return groups if groups == 1 or (shape[0] == groups and shape[1] == 1) else None


def _even(module: fx.GraphModule, first: fx.Node, second: fx.Node) -> float:
    """Scale one pair; returns the largest change of a channel, as a factor less one."""
    writes, reads = (attribute(module, str(layer.args[1].target)) for layer in (first, second))  # type: ignore[union-attr]
    depthwise = (_groups(module, second) or 1) > 1
    r1 = _largest(writes)
    r2 = _largest(reads if depthwise else reads.transpose(0, 1))
    alive = (r1 > LEAST) & (r2 > LEAST)
    s = torch.where(alive, (r1 / r2.clamp_min(LEAST)).sqrt(), torch.ones_like(r1)).clamp(1e-6, 1e6)
    writes.div_(s.view(-1, *[1] * (writes.dim() - 1)))
    bias = first.args[2] if len(first.args) > 2 else None
    if isinstance(bias, fx.Node):
        attribute(module, str(bias.target)).div_(s)
    if depthwise:
        reads.mul_(s.view(-1, *[1] * (reads.dim() - 1)))
    else:
        reads.mul_(s.view(1, -1, *[1] * (reads.dim() - 2)))
    return float((s - 1).abs().max())


def _largest(weight: Tensor) -> Tensor:
    return weight.abs().flatten(1).amax(1)
