"""Reading the nodes of an exported graph by their operators' schemas."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

VIEWS = frozenset({
    "alias", "contiguous", "detach", "diagonal", "expand", "flatten", "narrow", "permute", "reshape", "select",
    "slice", "squeeze", "t", "transpose", "unflatten", "unsqueeze", "view",
})  # fmt: skip
"""Operators whose result may lie in their input's memory."""


def name_of(node: fx.Node) -> str:
    """The operator's name without namespace and overload (`conv2d`); empty for what is no operator of torch."""
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else ""


def arguments(node: fx.Node) -> dict[str, Any]:
    """Every argument of an operator by its name in the schema, defaults filled in."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    found = {argument.name: argument.default_value for argument in schema}
    found |= dict(zip((argument.name for argument in schema), node.args, strict=False))
    return found | node.kwargs


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Replace one argument of an operator, wherever it stands."""
    assert isinstance(node.target, torch._ops.OpOverload)
    position = [argument.name for argument in node.target._schema.arguments].index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)


def convolution_arguments(node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node | None, int]:
    """Input, weight, bias and groups of a convolution, transposed or not."""
    given = arguments(node)
    return given["input"], given["weight"], given["bias"], given["groups"]


def stored_operand(operand: Any) -> fx.Node | None:
    """The parameter or buffer that an operand is, seen through its quantizer if it has one."""
    node = operand
    while isinstance(node, fx.Node) and (node.op == "call_module" or name_of(node).startswith("fake_quantize")):
        node = node.args[0]
    return node if isinstance(node, fx.Node) and node.op == "get_attr" else None


def only_reader(node: Any) -> bool:
    """Whether a node reads a stored tensor that is read nowhere else."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return False
    same = [other for other in node.graph.nodes if other.op == "get_attr" and other.target == node.target]
    return sum(len(other.users) for other in same) == 1


def per_axis(value: int | list[int], axes: int) -> list[int]:
    """An argument that says one number for all axes, or one each."""
    values = [value] if isinstance(value, int) else [*value]
    return values * axes if len(values) == 1 else values
