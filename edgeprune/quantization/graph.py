"""Reading and writing a graph that holds quantizers, as modules or frozen into operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensor

from edgeprune.model.attributes import attribute

ATEN = torch.ops.aten
QUANTIZERS = "quantizers"
"""The submodule that holds them all, by the name of the node that each one quantizes."""
FROZEN = {ATEN.fake_quantize_per_tensor_affine.default, ATEN.fake_quantize_per_channel_affine.default}


def is_quantizer(node: Any) -> bool:
    """Whether a node rounds its first argument: a weight, a bias or an activation."""
    if not isinstance(node, fx.Node):
        return False
    return node.target in FROZEN or (node.op == "call_module" and str(node.target).startswith(f"{QUANTIZERS}."))


def unrounded(node: Any) -> Any:
    """What a quantizer is given; any other node is itself."""
    while is_quantizer(node):
        node = node.args[0]
    return node


def call(graph: fx.Graph, target: torch._ops.OpOverload, *args: Any) -> fx.Node:
    """Add an operator at the graph's insertion point, with the shape and type of its result."""
    node = graph.call_function(target, args)
    values = [_value(arg) for arg in args]
    fake = next(value for value in values if isinstance(value, FakeTensor))
    with fake.fake_mode:
        node.meta["val"] = target(*values)
    return node


def _value(arg: Any) -> Any:
    if isinstance(arg, fx.Node):
        return arg.meta["val"]
    if isinstance(arg, list | tuple):
        return [_value(one) for one in arg]
    return arg


def rank(node: fx.Node) -> int | None:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else None


def modules_by_node(module: fx.GraphModule) -> dict[fx.Node, nn.Module]:
    """The quantizer that each node calls."""
    return {node: module.get_submodule(str(node.target)) for node in module.graph.nodes if node.op == "call_module"}


def weights_of(module: fx.GraphModule) -> dict[Any, Tensor]:
    """The stored tensor that each quantizer module rounds, where it rounds one."""
    calls = modules_by_node(module).items()
    stored = {part: node.args[0] for node, part in calls if isinstance(node.args[0], fx.Node)}
    return {part: attribute(module, str(one.target)) for part, one in stored.items() if one.op == "get_attr"}
