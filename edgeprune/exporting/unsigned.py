"""Signed symmetric codes written as uint8, bit for bit, because ONNX Runtime's x86 kernels want those.

| tensor | codes before | codes after |
|---|---|---|
| cannot be negative | int8 0..127, zero point 0 | uint8, zero point 0, same scale, then Min(codes, 127) |
| any other | int8, zero point 0 | the same plus 128: uint8, zero point 128, same scale |

Why the Min: without it codes 128..255 would appear where the trained network saturates at 127. Why zero point
0 at all: only there a ReLU folds into the Q, and with it into the convolution.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.movers import moves
from edgeprune.exporting.pairs import DQ, activation_quantizers, zero_point_of
from edgeprune.exporting.wiring import Wiring, attribute, store

TOP = "signed_top"
"""The largest code of a signed tensor, 127, as the Min's second input."""
AVERAGES = {"GlobalAveragePool", "AveragePool"}


def make_unsigned(model: onnx.ModelProto) -> None:
    wiring = Wiring(model)
    graph = model.graph
    for quantizer in activation_quantizers(wiring):
        zero_point = zero_point_of(wiring, quantizer)
        readers = wiring.readers.get(quantizer.output[0], [])
        if zero_point is None or zero_point.dtype != np.int8 or zero_point.item() != 0:
            continue
        if any(reader.op_type != DQ for reader in readers):
            continue
        positive = never_negative(wiring, quantizer.input[0])
        zero = store(graph, "zero_code" if positive else "middle_code", np.array(0 if positive else 128, np.uint8))
        for node in (quantizer, *readers):
            node.input[2] = zero
        if positive:
            top = store(graph, TOP, np.array(127, np.uint8))
            codes = quantizer.output[0]
            capped = f"{codes}_capped"
            minimum = onnx.helper.make_node("Min", [codes, top], [capped], name=capped)
            graph.node.insert([n.name for n in graph.node].index(quantizer.name) + 1, minimum)
            for reader in readers:
                reader.input[0] = capped


def never_negative(wiring: Wiring, name: str) -> bool:
    """Whether no value of a tensor can be below zero, whatever the input."""
    node = wiring.writer.get(name)
    if node is None:
        return False
    if node.op_type in ("Relu", "Sigmoid", "HardSigmoid", "Softmax"):
        return True
    if node.op_type == "Clip":
        low = wiring.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "min")
        return low is not None and float(np.asarray(low)) >= 0
    if node.op_type in ("Concat", "Add", "Mul"):
        return all(never_negative(wiring, part) for part in node.input)
    if node.op_type == DQ:
        zero_point = zero_point_of(wiring, node)
        if zero_point is not None and zero_point.dtype == np.uint8 and not zero_point.any():
            return True
        return never_negative(wiring, node.input[0])
    if node.op_type in ("QuantizeLinear", "Min", *AVERAGES) or moves(wiring, node):
        return never_negative(wiring, node.input[0])
    return False
