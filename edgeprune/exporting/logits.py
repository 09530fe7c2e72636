"""The last linear layer, whose output stays float."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.bias import LIMIT
from edgeprune.exporting.pairs import DQ, Q, dequantized, scale_of
from edgeprune.exporting.wiring import Wiring, attribute, insert_before, store


def fit_last_bias(model: onnx.ModelProto) -> None:
    """Store the bias of a Gemm without a Q behind it as int32 codes, in which it was trained, or take it out into an Add.

    ONNX Runtime 1.31 fuses such a Gemm into QGemm without a bias or with an int32 one, but not with a float
    one. An Add is left for a bias too large for such codes.
    """  # noqa: E501
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type == "Gemm" and len(n.input) > 2]:
        weight = wiring.writer.get(node.input[1])
        quantized = dequantized(wiring, node.input[0]) is not None and weight is not None and weight.op_type == DQ
        reader = wiring.only_reader(node.output[0])
        if not quantized or (reader is not None and reader.op_type == Q) or attribute(node, "beta", 1.0) != 1.0:
            continue
        if not _as_codes(model, wiring, node):
            _as_sum(model, node)


def _as_codes(model: onnx.ModelProto, wiring: Wiring, node: onnx.NodeProto) -> bool:
    source, weight = dequantized(wiring, node.input[0]), wiring.writer[node.input[1]]
    assert source is not None
    bias, scale, of_input = wiring.constant(node.input[2]), wiring.constant(weight.input[1]), scale_of(wiring, source)
    if bias is None or scale is None or of_input is None or bias.dtype != np.float32 or scale.dtype != np.float32:
        return False
    unit = np.asarray(scale, np.float32) * np.float32(of_input)
    codes = np.rint(np.asarray(bias, np.float64) / unit)
    if np.any(np.abs(codes) >= LIMIT) or unit.ndim > 1:
        return False
    names = [
        store(model.graph, f"{node.name}.bias{ending}", value)
        for ending, value in (
            ("_codes", codes.astype(np.int32)),
            ("_scale", unit),
            ("_zero_point", np.zeros(unit.shape, np.int32)),
        )
    ]
    name = f"{node.name}.bias_dequantized"
    insert_before(model.graph, node, onnx.helper.make_node(DQ, names, [name], name=name, axis=0))
    node.input[2] = name
    return True


def _as_sum(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    bias, result = node.input[2], node.output[0]
    del node.input[2:]
    node.output[0] = f"{result}_before_bias"
    add = onnx.helper.make_node("Add", [node.output[0], bias], [result], name=f"{node.name}.bias")
    model.graph.node.insert([n.name for n in model.graph.node].index(node.name) + 1, add)
