"""The last linear layer, whose output stays float."""

from __future__ import annotations

import onnx

from edgeprune.exporting.pairs import DQ, Q, dequantized
from edgeprune.exporting.wiring import Wiring, attribute


def add_bias_after(model: onnx.ModelProto) -> None:
    """Take the bias out of a Gemm without a Q behind it, into an Add.

    ONNX Runtime 1.31 fuses such a Gemm into QGemm without a bias or with an int32 one, but not with a float
    one; the Add keeps the bias as exact as it was trained.
    """
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type == "Gemm" and len(n.input) > 2]:
        weight = wiring.writer.get(node.input[1])
        quantized = dequantized(wiring, node.input[0]) is not None and weight is not None and weight.op_type == DQ
        reader = wiring.only_reader(node.output[0])
        if not quantized or (reader is not None and reader.op_type == Q) or attribute(node, "beta", 1.0) != 1.0:
            continue
        bias, result = node.input[2], node.output[0]
        del node.input[2:]
        node.output[0] = f"{result}_before_bias"
        add = onnx.helper.make_node("Add", [node.output[0], bias], [result], name=f"{node.name}.bias")
        model.graph.node.insert([n.name for n in model.graph.node].index(node.name) + 1, add)
