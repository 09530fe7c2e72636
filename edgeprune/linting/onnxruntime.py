"""Why ONNX Runtime's CPU kernels take a layer in INT8 or leave it in float.

The rules are those of its selectors of Q/DQ groups (onnxruntime/core/optimizer/qdq_transformer/selectors_actions), as
release 1.32 was seen to apply them; tests compare each with the graph that the installed release makes.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.movers import before_moves
from edgeprune.exporting.pairs import DQ, Q, zero_point_of
from edgeprune.exporting.wiring import Array, Wiring, attribute

OPERATOR_FORM = {
    "QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
}  # fmt: skip
NO_KERNEL = {"ConvTranspose": "a transposed convolution", "Einsum": "an einsum"}
SATURATES_ABOVE = 128
"""Two products of a byte up to 255 and such weights, added in 16 bits, may exceed 32767."""


def why_float(wiring: Wiring, node: onnx.NodeProto) -> str:
    """What keeps a layer out of INT8; empty where nothing does."""
    if node.op_type in OPERATOR_FORM:
        return ""
    if node.op_type in NO_KERNEL:
        return f"ONNX Runtime has no integer kernel for {NO_KERNEL[node.op_type]}"
    return _inputs(wiring, node) or (_output(wiring, node) if node.op_type in ("Conv", "Gemm") else "")


def mendable(node: onnx.NodeProto) -> bool:
    return node.op_type not in NO_KERNEL


def _inputs(wiring: Wiring, node: onnx.NodeProto) -> str:
    stored = wiring.constant(_origin(wiring, node.input[1])) is not None
    words = ("its input", "its weight") if stored else ("its first factor", "its second factor")
    for name, word in zip(node.input[:2], words, strict=False):
        writer = before_moves(wiring, name)
        if writer is None or writer.op_type != DQ:
            between = "" if writer is None else f" ({writer.op_type} writes it)"
            return f"{word} is not quantized{between}"
        scale = wiring.constant(writer.input[1])
        if scale is None:
            return f"the scale of {word} is not constant"
        if scale.dtype != np.float32:
            return f"{word} is dequantized to {scale.dtype}, for which there is no integer kernel"
        if word != "its weight" and scale.size != 1:
            return f"{word} has a scale per channel"
    return _gemm(wiring, node) if node.op_type == "Gemm" else ""


def _gemm(wiring: Wiring, node: onnx.NodeProto) -> str:
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "transA", 0):
        return "its Gemm scales or transposes its input, which QGemm does not"
    has_bias = len(node.input) > 2 and bool(node.input[2])
    reader = wiring.only_reader(node.output[0])
    if has_bias and wiring.constant(node.input[2]) is not None and (reader is None or reader.op_type != Q):
        return "its float bias and float output together: QGemm has none; add the bias behind it"
    return ""


def _output(wiring: Wiring, node: onnx.NodeProto) -> str:
    """QLinearConv exists only with a QuantizeLinear behind the convolution, and behind an activation that it folds."""
    name, folded = node.output[0], None
    while True:
        if name in wiring.outputs:
            return "" if node.op_type == "Gemm" else "its output leaves the network in float"
        readers = wiring.readers.get(name, [])
        if len(readers) != 1:
            return "" if node.op_type == "Gemm" else f"its output is read {len(readers)} times, not by a Q alone"
        reader = readers[0]
        if reader.op_type == Q:
            return _codes(wiring, node, reader, folded)
        if reader.op_type not in ("Relu", "Clip") or folded is not None:
            between = f"{folded.op_type} and {reader.op_type}" if folded is not None else reader.op_type
            return "" if node.op_type == "Gemm" else f"its output goes to {between} in float, with no Q between"
        name, folded = reader.output[0], reader


def _codes(wiring: Wiring, node: onnx.NodeProto, quantizer: onnx.NodeProto, folded: onnx.NodeProto | None) -> str:
    zero = zero_point_of(wiring, quantizer)
    if zero is not None and zero.size != 1:
        return "its output has a zero point per channel"
    if folded is not None:
        point, kind = (0, "uint8") if zero is None else (int(zero.item()), str(zero.dtype))
        if point != np.iinfo(kind).min:
            return (
                f"{folded.op_type} does not fold into {kind} codes with zero point {point}: "
                "its zero is not the smallest code"
            )
    data = before_moves(wiring, node.input[0])
    assert data is not None
    before = zero_point_of(wiring, data)
    kinds = [np.dtype(np.uint8) if one is None else one.dtype for one in (before, zero)]
    if kinds[0] != kinds[1]:
        return f"it reads {kinds[0]} codes and writes {kinds[1]}"
    return ""


def saturating(wiring: Wiring, node: onnx.NodeProto) -> float:
    """Share of neighbouring pairs of a layer's weights whose products with bytes may overflow 16 bits (x86 without VNNI)."""  # noqa: E501
    codes = _weight_codes(wiring, node)
    if codes is None or codes.dtype != np.int8:
        return 0.0
    if node.op_type in ("Conv", "QLinearConv"):
        rows = codes.reshape(codes.shape[0], -1)
    else:
        rows = codes if attribute(node, "transB", 0) else codes.T
    size = np.abs(rows[:, : rows.shape[1] // 2 * 2].astype(np.int32)).reshape(rows.shape[0], -1, 2).sum(-1)
    return float(np.mean(size > SATURATES_ABOVE)) if size.size else 0.0


def _weight_codes(wiring: Wiring, node: onnx.NodeProto) -> Array | None:
    at = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}.get(node.op_type, 1)
    name = node.input[at] if len(node.input) > at else ""
    writer = wiring.writer.get(name)
    if writer is not None and writer.op_type == DQ:
        name = writer.input[0]
    codes = wiring.constant(name)
    return codes if codes is not None and codes.ndim >= 2 else None


def _origin(wiring: Wiring, name: str) -> str:
    """The stored tensor behind quantizers, or whatever is computed."""
    while name in wiring.writer and wiring.writer[name].op_type in (Q, DQ, "Transpose"):
        name = wiring.writer[name].input[0]
    return name
