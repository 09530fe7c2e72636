"""Operators whose output holds values of their input and perhaps zeros: its scale is theirs."""

from __future__ import annotations

import operator

import torch
from torch import fx

ATEN = torch.ops.aten

# By packet, so that every overload counts. A network that is quantized runs them on codes: they need no
# quantizer.
MOVES = {
    ATEN.alias,
    ATEN.channel_shuffle,
    ATEN.chunk,
    ATEN.clone,
    ATEN.contiguous,
    ATEN.detach,
    ATEN.expand,
    ATEN.flatten,
    ATEN.flip,
    ATEN.gather,
    ATEN.index,
    ATEN.index_select,
    ATEN.max_pool1d,
    ATEN.max_pool2d,
    ATEN.max_pool3d,
    ATEN.narrow,
    ATEN.permute,
    ATEN.pixel_shuffle,
    ATEN.pixel_unshuffle,
    ATEN.repeat,
    ATEN.reshape,
    ATEN.roll,
    ATEN.select,
    ATEN.slice,
    ATEN.split,
    ATEN.split_with_sizes,
    ATEN.squeeze,
    ATEN.t,
    ATEN.transpose,
    ATEN.unbind,
    ATEN.unflatten,
    ATEN.unsqueeze,
    ATEN.upsample_nearest2d,
    ATEN.view,
}


def packet(node: fx.Node) -> object:
    """The operator without its overload: `aten.add` of `aten.add.Tensor`."""
    return node.target.overloadpacket if isinstance(node.target, torch._ops.OpOverload) else node.target


def keeps_scale(node: fx.Node) -> bool:
    """Whether the values of `node` are values of its first input, or zero."""
    if node.op != "call_function":
        return False
    kind = packet(node)
    if kind in MOVES:
        return True
    if kind is operator.getitem:  # a piece of a split, not one of a sort's two results
        whole = node.args[0]
        return isinstance(whole, fx.Node) and packet(whole) in MOVES
    if kind == ATEN.dropout:
        return True  # identity when it does not train; when it does, quantizing before it is what runs later
    if kind in (ATEN.pad, ATEN.constant_pad_nd):
        # The code of zero is exact. Any other constant is not.
        values = node.args[2:] if kind == ATEN.constant_pad_nd else node.args[3:]
        return all(value in (None, 0, 0.0) for value in values)
    return False


def source(node: fx.Node) -> fx.Node:
    """The tensor whose values `node` holds."""
    while keeps_scale(node):
        before = node.args[0]
        assert isinstance(before, fx.Node)
        node = before
    return node
