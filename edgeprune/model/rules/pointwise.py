"""Labels through elementwise operators: the labels that meet at one element are one channel."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx

from edgeprune.model.flow import Flow
from edgeprune.model.labels import FROZEN, collapse
from edgeprune.model.operators import arguments


def elementwise(flow: Flow, node: fx.Node) -> Any:
    """Unite operands of full shape; a smaller one is the channel that each of its elements meets."""
    shape = flow.shapes[node.name]
    values = [flow.value(a) for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    operands = [labels for labels in values if isinstance(labels, Tensor)]
    for labels in operands:
        if labels.numel() == 1 < math.prod(shape):  # one number for all channels belongs to none of them
            flow.freeze_labels([labels], node.name, "one number meets all channels")
    operands = [labels for labels in operands if labels.numel() > 1 or math.prod(shape) == 1]
    if not operands:
        return flow.frozen_like(node)
    whole = [labels for labels in operands if tuple(labels.shape) == shape]
    if not whole:  # an outer sum: the largest operand, laid over the shape, is as good as a whole one
        largest = max(operands, key=lambda labels: labels.numel())
        whole = [largest.expand(shape)]
    widest = max(whole, key=lambda labels: collapse(labels).numel())
    live, result = flow.live(), []
    for labels in [*whole, *(labels for labels in operands if tuple(labels.shape) != shape)]:
        narrow = collapse(labels)
        found = flow.labels.find(narrow)
        idle = not bool((live[found] | (found == FROZEN)).any())
        if idle and narrow.numel() < collapse(widest).numel():
            labels = narrow  # a statistic, spread over what it was taken of, is broadcast all the same
        elif tuple(labels.shape) == shape:
            result.append(labels)
        unite(flow, node.name, labels, widest)
    return min(result, key=lambda labels: collapse(labels).numel()) if result else widest


def unite(flow: Flow, node: str, small: Tensor, big: Tensor) -> None:
    """Unite two operands, the first of which may be broadcast over the second.

    A gate `[batch, C, 1, 1]` meets one channel per element and is that channel. A map `[batch, 1, H, W]` meets
    all channels at once: it is no channel of theirs, and stays whole unless they turn out to be one.
    """
    if small.shape == big.shape:
        flow.labels.union(small, big)
        return
    small = small.reshape((1,) * (big.dim() - small.dim()) + tuple(small.shape))
    over = [d for d in range(big.dim()) if small.shape[d] == 1 and big.shape[d] > 1]
    kept = [d for d in range(big.dim()) if d not in over]
    met, narrow = collapse(big).permute(*kept, *over), collapse(small).permute(*kept, *over)
    sizes = [max(met.shape[d], narrow.shape[d]) for d in range(len(kept))]
    rows = met.expand(*sizes, *met.shape[len(kept) :]).reshape(math.prod(sizes), -1)
    flow.meet(node, narrow.reshape(narrow.shape[: len(kept)]).expand(sizes).reshape(-1), rows)


def gated(flow: Flow, node: fx.Node) -> Any:
    """A gated linear unit multiplies one half of an axis with the other."""
    given = arguments(node)
    first, second = flow.value(given["self"]).chunk(2, given["dim"])
    flow.labels.union(first, second)
    return first


def mixed(flow: Flow, node: fx.Node) -> Any:
    """A softmax, a cumulative sum or a sort mixes all of an axis, which must then stay whole or go whole."""
    given = arguments(node)
    labels = flow.value(given["self"])
    axis = given["dim"] % labels.dim()
    moved = collapse(labels).movedim(axis, -1)
    if moved.shape[-1] > 1:
        flow.labels.tie(moved.reshape(-1, moved.shape[-1]))
        labels = labels.narrow(axis, 0, 1).expand(labels.shape)
    return labels


def same(flow: Flow, node: fx.Node) -> Any:
    return flow.value(node.args[0])


def created(flow: Flow, node: fx.Node) -> Any:
    return flow.frozen_like(node)
