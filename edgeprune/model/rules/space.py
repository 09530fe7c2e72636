"""Labels through what mixes positions: pooling, resampling, reductions, padding, patches."""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow, Statistic, frozen, spread
from edgeprune.model.labels import collapse
from edgeprune.model.operators import arguments, name_of


def pooled(flow: Flow, node: fx.Node) -> Any:
    """Pooling and resampling mix the positions within a channel: one label per image and channel."""
    labels = flow.value(node.args[0])
    found = re.search(r"([123])d", name_of(node))
    spatial = int(found[1]) if found else labels.dim() - 2
    flat = collapse(labels).flatten(-spatial)
    tied = flow.labels.tie(flat.reshape(-1, flat.shape[-1])).view(*flat.shape[:-1], *[1] * spatial)
    shape = flow.shapes.get(node.name)
    if shape is None:  # values and indices
        return [tied.expand(labels.shape), frozen((1,))]
    return tied.expand(shape)


def reduced(flow: Flow, node: fx.Node) -> Any:
    """A reduction keeps what is one channel along its axes; over channels it is a statistic of those that stay."""
    given = arguments(node)
    labels = flow.value(given.get("self", given.get("input", node.args[0])))
    asked = given.get("dim")
    axes = [asked] if isinstance(asked, int) else list(asked or range(labels.dim()))
    over = sorted({axis % labels.dim() for axis in axes}) if labels.dim() else []
    first, varies = collapse(labels), False
    for axis in over:
        varies = varies or first.shape[axis] > 1
    whole = first
    for axis in over:
        first = first.narrow(axis, 0, 1)
    if varies:
        rest = [d for d in range(labels.dim()) if d not in over]
        rows = whole.permute(*rest, *over).reshape(first.numel(), -1)
        first = flow.labels.fresh(*first.shape)
        flow.meet(node.name, first.permute(*rest, *over).reshape(-1), rows)
        if name_of(node) not in _EXACT_WITH_ZEROS:
            flow.statistics.append(Statistic(node.name, labels, tuple(over), f"a {name_of(node)} over channels"))
    shape = [1 if d in over else n for d, n in enumerate(labels.shape)]
    result = first.expand(shape)
    if not given.get("keepdim", False):
        result = result.reshape([n for d, n in enumerate(labels.shape) if d not in over])
    if node.name in flow.shapes:
        return result
    if varies and any(reader.args[1] == 1 for reader in node.users) and name_of(node) in {"max", "min"}:
        flow.freeze_labels([whole], node.name, "it numbers the channels")
    return [result, result]


_EXACT_WITH_ZEROS = {"sum", "linalg_vector_norm", "norm", "frobenius_norm"}
"""What a channel of zeros adds nothing to."""


def padded(flow: Flow, node: fx.Node) -> Any:
    """Zeros laid around get labels of their own: an option-A shortcut's go with the channels they are added to."""
    given = arguments(node)
    widths, mode, value = cast("list[int]", given["pad"]), given.get("mode", "constant"), given.get("value") or 0
    labels = flow.value(given["self"])
    around_space = all(w == 0 for w in widths[2 * (labels.dim() - 2) :])
    if mode != "constant" and around_space and labels.dim() > 2:
        channel = flow.channels(labels)
        return spread(channel, flow.shapes[node.name])
    if mode != "constant" or min(widths) < 0:
        return flow.freeze(node, "it crops, or pads along channels with something else than zeros")
    around = [labels.dim() - 1 - i // 2 for i, width in enumerate(widths) if width]
    along = any(flow.channels_along(labels, axis) for axis in around)
    if around_space and labels.dim() == 4 and len(widths) <= 4 and not along:  # a border belongs to its channel
        return spread(flow.channels(labels), flow.shapes[node.name])
    if value != 0:
        return flow.freeze(node, "it crops, or pads along channels with something else than zeros")
    laid = torch.nn.functional.pad(labels.contiguous(), widths, value=-1)
    fresh = laid == -1
    laid[fresh] = flow.labels.fresh(int(fresh.sum()))
    return laid


def unfolded(flow: Flow, node: fx.Node) -> Any:
    """Patches as columns `[batch, C * kernel, places]`: a channel is as many rows as the kernel has places."""
    channel = flow.channels(flow.value(node.args[0]))
    shape = flow.shapes[node.name]
    return spread(channel.repeat_interleave(shape[1] // len(channel)), shape)


def folded(flow: Flow, node: fx.Node) -> Any:
    """The reverse of `unfolded`."""
    shape = flow.shapes[node.name]
    rows = flow.channels(flow.value(node.args[0]))
    return spread(flow.labels.tie(rows.reshape(shape[1], -1)), shape)


def shuffled(flow: Flow, node: fx.Node) -> Any:
    """Pixel shuffle and its reverse: run on the labels, then one label per channel."""
    assert callable(node.target)
    moved: Tensor = node.target(*flow.value(node.args))
    return spread(flow.channels(moved), tuple(moved.shape))


def channel_shuffled(flow: Flow, node: fx.Node) -> Any:
    """Groups and the positions within them change places, so the cut takes whole groups or the same positions."""
    labels = flow.value(node.args[0])
    channel = flow.channels(labels)
    by_group = channel.view(cast("int", arguments(node)["groups"]), -1)
    flow.products[node.name] = by_group
    return spread(by_group.T.reshape(-1), tuple(labels.shape))
