"""ONNX operators that only move values: they run on INT8 codes as well as on floats."""

from __future__ import annotations

import onnx

from edgeprune.exporting.wiring import Wiring, attribute

# Each takes its data as the first input, and ONNX Runtime has its uint8 kernel.
MOVERS = {
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}


def moves(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether every output value of a node is one of its first input's, or zero."""
    if node.op_type not in MOVERS:
        return False
    if node.op_type == "MaxPool":
        return len([name for name in node.output if name]) == 1  # its indices are no codes
    if node.op_type == "Resize":
        return attribute(node, "mode", b"nearest") == b"nearest"
    if node.op_type == "Pad" and attribute(node, "mode", b"constant") == b"constant":
        value = node.input[2] if len(node.input) > 2 else ""
        stored = wiring.constant(value) if value else None
        return not value or (stored is not None and not stored.any())
    return True


def before_moves(wiring: Wiring, name: str) -> onnx.NodeProto | None:
    """Who computes the values that a tensor holds; None for what is stored or comes from outside."""
    node = wiring.writer.get(name)
    while node is not None and moves(wiring, node):
        node = wiring.writer.get(node.input[0])
    return node
