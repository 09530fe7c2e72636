"""How channel labels pass through operators: the table behind `provenance`.

Most operators need no thought. Shape operators are simply run on the label tensor; elementwise ones unite the
labels that meet. What is left is below. A rule ties or freezes, it never refuses: tying too much only couples
channels, so every rule is sound for inputs that it did not expect.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow, spread
from edgeprune.model.labels import collapse

aten = torch.ops.aten
Rule = Callable[[Flow, fx.Node], Any]


def _convolution(flow: Flow, node: fx.Node) -> Any:
    x, weight, bias, groups = convolution_arguments(node)
    if weight.op != "get_attr":
        return flow.freeze(node, "the convolution's weight is computed in the graph")
    kernel = flow.tensor(str(weight.target))
    incoming = flow.channels(flow.value(x))
    flow.weights.add(str(weight.target))
    if groups > 1 and kernel.shape[1] == 1:  # depthwise: output channel o is input channel o // multiplier
        outgoing = flow.bind(weight, 0, incoming.repeat_interleave(kernel.shape[0] // groups))
        flow.bind(bias, 0, outgoing)
        return spread(outgoing, flow.shapes[node.name])
    # All groups share the weight's input axis, and must stay equally wide: equal positions go together.
    flow.bind(weight, 1, flow.labels.tie(incoming.view(groups, -1).T))
    outgoing = _outputs(flow, weight, kernel.shape[0])
    if groups > 1:
        flow.labels.tie(outgoing.view(groups, -1).T)
    flow.bind(bias, 0, outgoing)
    return spread(outgoing, flow.shapes[node.name])


def convolution_arguments(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node | None, int]:
    """Input, weight, bias and groups of a convolution node, wherever the schema puts them."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return given["input"], given["weight"], given.get("bias"), given.get("groups", 1)


def _outputs(flow: Flow, weight: fx.Node, count: int) -> Tensor:
    known = flow.axes.get(str(weight.target), {}).get(0)
    return known if known is not None else flow.bind(weight, 0, flow.labels.fresh(count))


def _linear(flow: Flow, node: fx.Node) -> Any:
    x, weight = node.args[0], node.args[1]
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    assert isinstance(weight, fx.Node)
    if weight.op != "get_attr":
        return flow.freeze(node, "the linear layer's weight is computed in the graph")
    flow.weights.add(str(weight.target))
    flow.bind(weight, 1, flow.channels(flow.value(x), -1))
    outgoing = _outputs(flow, weight, flow.tensor(str(weight.target)).shape[0])
    flow.bind(bias, 0, outgoing)
    return spread(outgoing, flow.shapes[node.name], -1)


def _batch_norm(flow: Flow, node: fx.Node) -> Any:
    x, *parameters = node.args[:5]
    labels = flow.value(x)
    channel = flow.channels(labels)
    for parameter in parameters:
        flow.bind(parameter, 0, channel)
    return spread(channel, tuple(labels.shape))


def _elementwise(flow: Flow, node: fx.Node) -> Any:
    shape = flow.shapes[node.name]
    operands = [flow.value(a) for a in node.args if isinstance(a, fx.Node)]
    operands = [labels for labels in operands if isinstance(labels, Tensor)]
    for labels in operands:
        if labels.numel() == 1 < math.prod(shape):  # one number for all channels belongs to none of them
            flow.labels.freeze(labels)
    operands = [labels for labels in operands if labels.numel() > 1 or math.prod(shape) == 1]
    whole = [labels for labels in operands if tuple(labels.shape) == shape]
    if not operands or not whole:
        return flow.freeze(node, "all operands are broadcast") if operands else flow.frozen_like(node)
    for labels in operands:
        if tuple(labels.shape) == shape:
            flow.labels.union(labels, whole[0])
        else:
            _unite_broadcast(flow, labels, whole[0])
    return whole[0]


def _unite_broadcast(flow: Flow, small: Tensor, big: Tensor) -> None:
    """Unite a broadcast operand's labels with the one channel each of them meets; freeze one that meets several.

    A gate `[batch, C, 1, 1]` meets one channel per element and is that channel. A map `[batch, 1, H, W]` meets
    all channels at once: it is no channel of theirs, and must stay whole.
    """
    small = small.reshape((1,) * (big.dim() - small.dim()) + tuple(small.shape))
    over = [d for d in range(big.dim()) if small.shape[d] == 1 and big.shape[d] > 1]
    met = flow.labels.find(collapse(big))
    several = torch.zeros((1,) * big.dim(), dtype=torch.bool)
    first = met
    for d in over:
        first = first.narrow(d, 0, 1)
    if over:
        several = (met != first).any(dim=over, keepdim=True) if met.numel() > 1 else several
    small, first, several = torch.broadcast_tensors(collapse(small), first, several)
    flow.labels.union(small[~several], first[~several])
    flow.labels.freeze(small[several])


def _prelu(flow: Flow, node: fx.Node) -> Any:
    """Its weight is one number, or one per channel of axis 1 wherever the channels are."""
    labels, weight = flow.value(node.args[0]), node.args[1]
    assert isinstance(weight, fx.Node)
    if math.prod(flow.shapes[weight.name]) > 1:
        flow.bind(weight, 0, flow.channels(labels))
    return labels


def _pool(flow: Flow, node: fx.Node) -> Any:
    """Pooling mixes positions within a channel: tie over space, per image and channel."""
    labels = flow.value(node.args[0])
    spatial = 2 if labels.dim() > 2 else 1
    flat = collapse(labels).flatten(-spatial)
    tied = flow.labels.tie(flat.reshape(-1, flat.shape[-1])).view(*flat.shape[:-1], *[1] * spatial)
    return tied.expand(flow.shapes[node.name])


def _reduce(flow: Flow, node: fx.Node) -> Any:
    """A reduction keeps labels that are equal along its axes; over channels it has no equal among cut networks."""
    labels = flow.value(node.args[0])
    asked: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes: list[int] = [asked] if isinstance(asked, int) else list(asked or range(labels.dim()))
    found = flow.labels.find(collapse(labels))
    first = found
    for axis in axes:
        first = first.narrow(axis, 0, 1)
    if bool((found != first).any()):
        return flow.freeze(node, "it reduces over channels")
    keep = bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False))
    positive = {axis % labels.dim() for axis in axes}
    shape = [1 if d in positive else n for d, n in enumerate(labels.shape)]
    reduced = first.expand(shape)
    return reduced if keep else reduced.reshape(flow.shapes[node.name])


def _pad(flow: Flow, node: fx.Node) -> Any:
    """Zeros laid around get labels of their own: an option-A shortcut's go with the channels they are added to."""
    x, widths = node.args[0], node.args[1]
    mode = node.args[2] if len(node.args) > 2 else "constant"
    value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value", 0)
    if node.target is aten.constant_pad_nd.default:
        mode, value = "constant", node.args[2] if len(node.args) > 2 else 0
    if mode != "constant" or (value or 0) != 0 or min(cast("list[int]", widths)) < 0:
        return flow.freeze(node, "it pads with something else than zeros, or crops")
    labels = flow.value(x)
    padded = aten.constant_pad_nd(labels.contiguous(), widths, -1)
    around = padded == -1
    padded[around] = flow.labels.fresh(int(around.sum()))
    return padded


def _same(flow: Flow, node: fx.Node) -> Any:
    return flow.value(node.args[0])


def _run(flow: Flow, node: fx.Node) -> Any:
    """Run the operator itself on the labels; a view of labels spread without memory is a reshape."""
    operator_ = aten.reshape.default if node.target in (aten.view.default, aten._unsafe_view.default) else node.target
    assert callable(operator_)
    return operator_(*flow.value(node.args), **{key: flow.value(item) for key, item in node.kwargs.items()})


def _item(flow: Flow, node: fx.Node) -> Any:
    """One of several results; of an operator that was frozen there is no list of them."""
    source, index = flow.value(node.args[0]), cast(int, node.args[1])
    return source[index] if isinstance(source, (list, tuple)) else flow.frozen_like(node)


def _creation(flow: Flow, node: fx.Node) -> Any:
    return flow.frozen_like(node)


def _overloads(rule: Rule, names: str) -> dict[Any, Rule]:
    """Every overload of the ATen operators named, under one rule."""
    table: dict[Any, Rule] = {}
    for name in names.split():
        packet = getattr(aten, name, None)
        for overload in packet.overloads() if packet is not None else ():
            table[getattr(packet, overload)] = rule
    return table


RULES: dict[Any, Rule] = {
    **_overloads(_convolution, "conv1d conv2d conv3d"),
    **_overloads(_linear, "linear"),
    **_overloads(_batch_norm, "batch_norm"),
    **_overloads(
        _elementwise,
        "add sub rsub mul div minimum maximum pow relu relu6 hardtanh hardswish hardsigmoid sigmoid silu gelu elu selu "
        "celu leaky_relu mish softplus tanh clamp clamp_min clamp_max abs neg exp log sqrt rsqrt square erf",
    ),
    **_overloads(_prelu, "prelu"),
    **_overloads(_pool, "max_pool2d avg_pool2d adaptive_avg_pool2d"),
    **_overloads(_reduce, "mean sum amax amin"),
    **_overloads(_pad, "pad constant_pad_nd"),
    **_overloads(
        _same,
        "dropout feature_dropout alpha_dropout zeros_like ones_like full_like "
        "contiguous clone detach alias to _to_copy dropout1d dropout2d",
    ),
    **_overloads(
        _run,
        "view reshape _unsafe_view flatten permute transpose t slice select cat concat split "
        "split_with_sizes chunk squeeze unsqueeze expand narrow stack pixel_shuffle "
        "pixel_unshuffle flip sym_size",
    ),
    **_overloads(_creation, "zeros ones full arange scalar_tensor empty"),
    operator.getitem: _item,
    **dict.fromkeys((operator.mul, operator.add, operator.sub, operator.floordiv), _run),
}
