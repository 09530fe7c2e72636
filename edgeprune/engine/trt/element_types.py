"""Which element type each tensor of an ONNX graph has, without shape inference."""

from __future__ import annotations

from typing import Any

from edgeprune.engine.trt.onnx_file import BOOL, FLOAT, INT8, INT64, UINT8, attribute

WHOLE = {"Shape", "Size", "ArgMax", "ArgMin", "NonZero"}
TRUTHS = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"}
OF_INPUT = {"DequantizeLinear": 1, "Where": 1, "OneHot": 2}
"""Operators whose output is of another input's type than the first."""


def element_types(graph: Any) -> dict[str, int]:
    """TensorProto.DataType by tensor name; nodes must be in order."""
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    types |= {value.name: int(value.type.tensor_type.elem_type) for value in graph.input}
    for node in graph.node:
        for position, name in enumerate(node.output):
            if name:
                types[name] = _type(node, position, types)
    return types


def _type(node: Any, position: int, types: dict[str, int]) -> int:
    op = node.op_type
    if op in WHOLE or (op == "TopK" and position == 1):
        return INT64
    if op in TRUTHS:
        return BOOL
    if op == "Cast":
        return int(attribute(node, "to").i)
    if op in ("Constant", "ConstantOfShape"):
        return _stored(node)
    if op == "QuantizeLinear":
        return types.get(node.input[2], INT8) if len(node.input) > 2 and node.input[2] else UINT8
    if op in ("MaxPool", "Dropout") and position == 1:
        return INT64 if op == "MaxPool" else BOOL
    return types.get(node.input[OF_INPUT.get(op, 0)], FLOAT)


def _stored(node: Any) -> int:
    value = attribute(node, "value")
    if value is not None:
        return int(value.t.data_type)
    whole = {"value_int", "value_ints"}
    return INT64 if any(entry.name in whole for entry in node.attribute) else FLOAT
