"""Labels through layers: what contracts a weight mints its output channels, what scales channels is bound to them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from edgeprune.model.flow import Flow, Statistic, spread
from edgeprune.model.labels import channel_axes, collapse
from edgeprune.model.operators import arguments, convolution_arguments, name_of


def convolution(flow: Flow, node: fx.Node) -> Any:
    x, weight, bias, groups = convolution_arguments(node)
    if weight.op != "get_attr":
        return flow.freeze(node, "the convolution's weight is computed, or a part of a parameter")
    transposed = "transpose" in name_of(node)
    incoming = flow.channels(flow.value(x))
    kernel = flow.tensor(str(weight.target)).shape
    if groups == 1:
        into, out = (0, 1) if transposed else (1, 0)
        flow.bind(weight, into, incoming)
        outgoing = flow.bind(weight, out, flow.outputs(weight, out, kernel[out]))
    elif transposed:
        outgoing = _grouped_transposed(flow, weight, incoming, groups)
    elif kernel[1] == 1:  # depthwise: output channel o is input channel o // multiplier
        flow.note_layer(weight, 0)
        outgoing = flow.bind(weight, 0, incoming.repeat_interleave(kernel[0] // groups))
    else:
        outgoing = _grouped(flow, weight, incoming, groups)
    flow.bind(bias, 0, outgoing)
    return spread(outgoing, flow.shapes[node.name])


def _grouped(flow: Flow, weight: fx.Node, incoming: Tensor, groups: int) -> Tensor:
    """Many narrow groups go whole, input with output; few wide ones lose the same positions each.

    All groups share the weight's input axis, so they must stay equally wide.
    """
    outgoing = flow.bind(weight, 0, flow.outputs(weight, 0, flow.tensor(str(weight.target)).shape[0]))
    before, after = incoming.view(groups, -1), outgoing.view(groups, -1)
    if groups >= max(before.shape[1], after.shape[1]):
        flow.labels.union(flow.labels.tie(before), flow.labels.tie(after))
    else:
        flow.bind(weight, 1, flow.labels.tie(before.T))
        flow.labels.tie(after.T)
    return outgoing


def _grouped_transposed(flow: Flow, weight: fx.Node, incoming: Tensor, groups: int) -> Tensor:
    """The weight `[in, out / groups, ...]` has a group's inputs on its first axis: groups go whole."""
    per_group = flow.tensor(str(weight.target)).shape[1]
    one = flow.labels.tie(incoming.view(groups, -1))
    if per_group == 1 and groups == len(incoming):
        flow.note_layer(weight, 0)
    flow.bind(weight, 0, incoming)
    return one.repeat_interleave(per_group)


def linear(flow: Flow, node: fx.Node) -> Any:
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    if weight.op != "get_attr":
        return flow.freeze(node, "the linear layer's weight is computed, or a part of a parameter")
    labels = flow.value(x)
    if _mixes_positions(flow, labels, -1):
        return labels.narrow(-1, 0, 1).expand(flow.shapes[node.name])
    flow.bind(weight, 1, flow.channels(labels, -1))
    outgoing = flow.bind(weight, 0, flow.outputs(weight, 0, flow.tensor(str(weight.target)).shape[0]))
    flow.bind(given["bias"], 0, outgoing)
    return spread(outgoing, flow.shapes[node.name], -1)


def _mixes_positions(flow: Flow, labels: Tensor, axis: int) -> bool:
    """Whether a layer contracts positions while channels lie along another axis, as in MLP-Mixer's token mixing.

    A tensor can be cut along one axis; the channels stay free, so the layer's outputs, being positions, stay whole.
    """
    axes = channel_axes(flow.labels.find(collapse(labels)), flow.live())
    return bool(axes) and axis % labels.dim() not in axes


def matrix_product(flow: Flow, node: fx.Node, x: fx.Node, weight: fx.Node, left: bool) -> Tensor:
    """A linear layer in disguise: `x @ weight` with a parameter `[in, out]`, or (`left`) `weight @ x`, `[out, in]`."""
    into, out, axis = (1, 0, -2) if left else (0, 1, -1)
    labels: Tensor = flow.value(x)
    if _mixes_positions(flow, labels, axis):
        return labels.narrow(axis, 0, 1).expand(flow.shapes[node.name])
    flow.bind(weight, into, flow.channels(labels, axis))
    outgoing = flow.bind(weight, out, flow.outputs(weight, out, flow.tensor(str(weight.target)).shape[out]))
    return spread(outgoing, flow.shapes[node.name], axis)


def per_channel_norm(flow: Flow, node: fx.Node) -> Any:
    """Batch and instance normalisation: all their tensors are per channel."""
    given = arguments(node)
    labels = flow.value(given["input"])
    channel = flow.channels(labels)
    for name in ("weight", "bias", "running_mean", "running_var"):
        flow.bind(given.get(name), 0, channel)
    return spread(channel, tuple(labels.shape))


def group_norm(flow: Flow, node: fx.Node) -> Any:
    """Whole groups can go, or the same positions of each; the latter changes what the statistics are taken over."""
    given = arguments(node)
    labels = flow.value(given["input"])
    channel = flow.channels(labels)
    for name in ("weight", "bias"):
        flow.bind(given[name], 0, channel)
    groups = given["num_groups"]
    if groups > 1 and groups < len(channel):
        flow.products[node.name] = channel.view(groups, -1)
    if groups < len(channel):
        flow.statistics.append(Statistic(node.name, channel.view(groups, -1), (1,), "group normalisation"))
    return spread(channel, tuple(labels.shape))


def layer_norm(flow: Flow, node: fx.Node) -> Any:
    """Layer and root-mean-square normalisation over the last axes."""
    given = arguments(node)
    labels = flow.value(given["input"])
    over = tuple(range(labels.dim() - len(given["normalized_shape"]), labels.dim()))
    for name in ("weight", "bias"):
        parameter = given.get(name)
        if parameter is None:
            continue
        if len(over) == 1:
            flow.bind(parameter, 0, flow.channels(labels, -1))
        else:
            flow.labels.union(flow.value(parameter), collapse(labels))
    flow.statistics.append(Statistic(node.name, labels, over, "layer normalisation"))
    return labels


def prelu(flow: Flow, node: fx.Node) -> Any:
    """Its weight is one number, or one per channel of axis 1 wherever the channels are."""
    given = arguments(node)
    labels, weight = flow.value(given["self"]), given["weight"]
    if flow.tensor(str(weight.target)).numel() > 1:
        flow.bind(weight, 0, flow.channels(labels))
    return labels
