"""BatchNorm folded into the convolution or linear layer before it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.operators import only_reader
from edgeprune.model.traced import Traced

ATEN = torch.ops.aten
# Output channels are axis 0 of the weight in each; transposed convolutions keep them on axis 1 and stay.
FOLDABLE = {
    ATEN.conv1d.default,
    ATEN.conv2d.default,
    ATEN.conv2d.padding,
    ATEN.conv3d.default,
    ATEN.linear.default,
}


def fold_batch_norm(traced: Traced) -> Traced:
    """Return a copy in which BatchNorm in eval mode is part of the weights before it.

    A layer without a bias gets one under its own name. A BatchNorm whose input is no such layer, or a layer
    that others read or whose weight others share, stays.
    """
    return fold_with_record(traced)[0]


@dataclass(frozen=True)
class Fold:
    """What became of a BatchNorm: its weight times `factor` along axis 0, and the bias `centre * factor + shift`.

    `bias`: its name in the folded network. `shift` and `mean`: the names of the BatchNorm's own bias, if it has one,
    and of its running mean, in the network before.
    `factor` and `centre`: float64 `[out]`.
    """

    factor: Tensor
    centre: Tensor
    bias: str
    shift: str | None
    mean: str


def fold_with_record(traced: Traced) -> tuple[Traced, dict[str, Fold]]:
    """`fold_batch_norm`; and what was folded into each weight, by its name."""
    module, folds = copy.deepcopy(traced.module), dict[str, Fold]()
    for node in [n for n in module.graph.nodes if n.target == ATEN.batch_norm.default]:
        layer = node.args[0]
        if _by_running_statistics(node) and _foldable(layer):
            weight, fold = _fold(module, layer, node)
            folds[weight] = fold
    drop_dead(module)
    return Traced(module, traced.input_shape), folds


def drop_dead(module: fx.GraphModule) -> None:
    """Remove the nodes that nothing reads and the parameters and buffers that no node reads."""
    module.graph.eliminate_dead_code()
    for node in [n for n in module.graph.nodes if n.op == "get_attr" and not n.users]:
        module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    read = {str(n.target) for n in module.graph.nodes if n.op == "get_attr"}
    called = tuple(f"{n.target}." for n in module.graph.nodes if n.op == "call_module")
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in read and not name.startswith(called):
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    module.recompile()


def _by_running_statistics(norm: fx.Node) -> bool:
    return not norm.args[5] and norm.args[3] is not None and norm.args[4] is not None


def _foldable(layer: object) -> bool:
    if not isinstance(layer, fx.Node) or layer.target not in FOLDABLE or len(layer.users) != 1:
        return False
    if layer.target == ATEN.linear.default and _rank(layer) != 2:
        return False  # BatchNorm1d then counts channels along axis 1, linear along the last
    return all(only_reader(arg) for arg in layer.args[1:3] if isinstance(arg, fx.Node))


def _rank(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else None


def _fold(module: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> tuple[str, Fold]:
    """Fold one BatchNorm; returns the weight's name, and what was done."""
    gamma, beta, mean, var = (_value(module, arg) for arg in norm.args[1:5])
    assert mean is not None
    assert var is not None
    assert not norm.args[5], "BatchNorm folds in eval mode only"
    epsilon, own_shift, own_mean = norm.args[7], norm.args[2], norm.args[3]
    assert isinstance(epsilon, float)
    assert isinstance(own_mean, fx.Node)
    weight_node = layer.args[1]
    assert isinstance(weight_node, fx.Node)
    weight = attribute(module, str(weight_node.target))
    bias = _value(module, layer.args[2] if len(layer.args) > 2 else None)

    # In double: one rounding at the end, so that the fold is as exact as float32 allows.
    factor = (var.double() + epsilon).rsqrt() * (1.0 if gamma is None else gamma.double())
    centre = (0.0 if bias is None else bias.double()) - mean.double()
    new_bias = centre * factor + (0.0 if beta is None else beta.double())
    new_weight = weight.double() * factor.view(-1, *[1] * (weight.dim() - 1))
    set_attribute(module, str(weight_node.target), nn.Parameter(new_weight.to(weight.dtype)))
    bias_node = _bias_node(module, layer, weight_node)
    set_attribute(module, str(bias_node.target), nn.Parameter(new_bias.to(weight.dtype)))

    layer.args = (*layer.args[:2], bias_node, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    module.graph.erase_node(norm)
    return str(weight_node.target), Fold(
        factor,
        centre,
        str(bias_node.target),
        str(own_shift.target) if isinstance(own_shift, fx.Node) else None,
        str(own_mean.target),
    )


def _bias_node(module: fx.GraphModule, layer: fx.Node, weight: fx.Node) -> fx.Node:
    if len(layer.args) > 2 and isinstance(layer.args[2], fx.Node):
        return layer.args[2]
    owner, _, _ = str(weight.target).rpartition(".")
    name = free_name(module, f"{owner}.bias" if owner else "bias")
    set_attribute(module, name, nn.Parameter(torch.zeros(0)))
    with module.graph.inserting_after(weight):
        node = module.graph.get_attr(name)
    layer.args = (*layer.args, None)[:3] if len(layer.args) < 3 else layer.args
    return node


def _value(module: fx.GraphModule, arg: object) -> Tensor | None:
    return attribute(module, str(arg.target)).detach() if isinstance(arg, fx.Node) else None
