"""Quantizers turned into plain ATen operators with constant scales, for saving and for ONNX."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.fake_shapes import teach_fake_quantize_shapes
from edgeprune.model.fold import drop_dead
from edgeprune.model.traced import Traced
from edgeprune.quantization.fake import LIMITS, ActivationQuantizer, BiasQuantizer, WeightQuantizer, refresh_units
from edgeprune.quantization.graph import modules_by_node, weights_of

ATEN = torch.ops.aten


def freeze(traced: Traced) -> Traced:
    """Return a copy that computes the same bits without the quantizer modules.

    Weights are stored rounded: rounding them again changes nothing, and every reader finds the same codes
    whether it divides by the scale or multiplies by its reciprocal.
    """
    teach_fake_quantize_shapes()
    module = copy.deepcopy(traced.module)
    calls = modules_by_node(module)
    refresh_units(module, weights_of(module))
    for node, quantizer in calls.items():
        if isinstance(quantizer, BiasQuantizer):
            _freeze_bias(module, node, quantizer)  # before its weight is rounded, which moves the scale by a last bit
    for node, quantizer in calls.items():
        if isinstance(quantizer, ActivationQuantizer):
            _freeze_activation(module, node, quantizer)
        elif isinstance(quantizer, WeightQuantizer):
            _freeze_weight(module, node, quantizer)
    drop_dead(module)
    module.graph.lint()
    return Traced(module, traced.input_shape)


def _freeze_activation(module: fx.GraphModule, node: fx.Node, quantizer: ActivationQuantizer) -> None:
    scale, zero = float(quantizer.scale().detach()), quantizer.zero_point()
    args = (node.args[0], scale, zero, quantizer.low, quantizer.high)
    _replace(module, node, ATEN.fake_quantize_per_tensor_affine.default, args)


def _freeze_bias(module: fx.GraphModule, node: fx.Node, quantizer: BiasQuantizer) -> None:
    arguments = [arg for arg in node.args if isinstance(arg, fx.Node)]
    with torch.no_grad():
        rounded = quantizer(*(attribute(module, str(arg.target)) for arg in arguments))
    stored = arguments[0]
    name = str(stored.target)
    if len(stored.users) > 1:  # another layer rounds it in other units
        name = free_name(module, name)
    set_attribute(module, name, nn.Parameter(rounded))
    if name != stored.target:
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
    node.replace_all_uses_with(stored)
    module.graph.erase_node(node)


def _freeze_weight(module: fx.GraphModule, node: fx.Node, quantizer: WeightQuantizer) -> None:
    stored = node.args[0]
    assert isinstance(stored, fx.Node)
    name = str(stored.target)
    weight = attribute(module, name).detach()
    scale = quantizer.scale(weight).detach()
    set_attribute(module, name, nn.Parameter(quantizer(weight).detach()))
    buffers = {"scale": scale, "zero_point": torch.zeros_like(scale, dtype=torch.int32)}
    nodes = []
    for kind, value in buffers.items():
        buffer = free_name(module, f"{name}_{kind}")
        set_attribute(module, buffer, value)
        with module.graph.inserting_before(node):
            nodes.append(module.graph.get_attr(buffer))
    args = (stored, *nodes, quantizer.axis, *LIMITS["signed"])
    _replace(module, node, ATEN.fake_quantize_per_channel_affine.default, args)


def _replace(module: fx.GraphModule, node: fx.Node, target: torch._ops.OpOverload, args: tuple[object, ...]) -> None:
    with module.graph.inserting_after(node):
        plain = module.graph.call_function(target, args)  # type: ignore[arg-type]
    plain.meta = dict(node.meta)
    node.replace_all_uses_with(plain)
    module.graph.erase_node(node)
