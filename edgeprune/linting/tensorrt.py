"""Why TensorRT runs a layer in INT8 or in float, by its documented rules of explicit quantization."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.movers import before_moves
from edgeprune.exporting.pairs import DQ, Q, zero_point_of
from edgeprune.exporting.wiring import Wiring


def why_float(wiring: Wiring, node: onnx.NodeProto) -> str:
    """What keeps a layer out of INT8; empty where nothing does."""
    if node.op_type == "Einsum":
        return "TensorRT has no INT8 einsum"
    stored = any(_is_stored(wiring, name) for name in node.input[1:2])
    words = ("its input", "its weight") if stored else ("its first factor", "its second factor")
    for name, word in zip(node.input[:2], words, strict=False):
        writer = before_moves(wiring, name)
        if writer is None or writer.op_type != DQ:
            between = "" if writer is None else f" ({writer.op_type} writes it)"
            return f"{word} is not quantized{between}"
        scale = wiring.constant(writer.input[1])
        if scale is None or (word != "its weight" and scale.size != 1):
            return f"{word} has no one constant scale"
        zero = zero_point_of(wiring, writer)
        if zero is not None and (zero.dtype != np.int8 or zero.any()):
            kind = str(zero.dtype)
            return f"{word} has {kind} codes with zero point {zero.flat[0]}, and TensorRT refuses all but int8 and 0"
    return ""


def mendable(node: onnx.NodeProto) -> bool:
    return bool(node.op_type != "Einsum")


def notes(wiring: Wiring) -> list[str]:
    """What TensorRT takes and is slow with."""
    found = []
    for node in wiring.graph.node:
        if node.op_type != Q:
            continue
        writer = wiring.writer.get(node.input[0])
        readers = [
            reader
            for output in node.output
            for dequantizer in wiring.readers.get(output, [])
            for reader in wiring.readers.get(dequantizer.output[0], [])
        ]
        if writer is not None and writer.op_type == "Conv" and [reader.op_type for reader in readers] == ["Add"]:
            found.append(f"{writer.name}: the Q between it and {readers[0].name} keeps the two from being one kernel")
    return found


def _is_stored(wiring: Wiring, name: str) -> bool:
    while name in wiring.writer and wiring.writer[name].op_type in (Q, DQ, "Transpose"):
        name = wiring.writer[name].input[0]
    found: bool = name in wiring.stored
    return found
