"""GELU in the order of factors that ONNX Runtime recognises, and runs as one operator instead of five."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.wiring import Wiring


def order_gelu(model: onnx.ModelProto) -> None:
    """Write x * (0.5 * (1 + erf)) as (x * (1 + erf)) * 0.5: a half is exact, so every bit stays."""
    wiring = Wiring(model)
    for outer in [n for n in model.graph.node if n.op_type == "Mul"]:
        for at in (0, 1):
            inner = wiring.writer.get(outer.input[at])
            half = _half(wiring, inner)
            if inner is None or half is None or not wiring.alone_reads(outer, inner.output[0]):
                continue
            added = wiring.writer.get(inner.input[1 - half])
            if added is None or added.op_type != "Add" or not _holds_erf(wiring, added):
                continue
            x, constant = outer.input[1 - at], inner.input[half]
            inner.input[:] = [x, added.output[0]]
            outer.input[:] = [inner.output[0], constant]
            break


def _half(wiring: Wiring, node: onnx.NodeProto | None) -> int | None:
    """Which factor of a product is the constant 0.5."""
    if node is None or node.op_type != "Mul":
        return None
    for at, name in enumerate(node.input):
        value = wiring.constant(name)
        if value is not None and value.size == 1 and np.asarray(value, np.float64).item() == 0.5:
            return at
    return None


def _holds_erf(wiring: Wiring, add: onnx.NodeProto) -> bool:
    return any(name in wiring.writer and wiring.writer[name].op_type == "Erf" for name in add.input)
