"""Weights stored as the INT8 codes that they are rounded to, so that the file is as small as it says."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.wiring import Array, Wiring, attribute, store


def quantize_weights(model: onnx.ModelProto) -> None:
    """Replace weight -> QuantizeLinear -> DequantizeLinear by codes -> DequantizeLinear."""
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type == "QuantizeLinear"]:
        weight, scale, zero_point = (wiring.constant(name) for name in node.input[:3])
        if weight is None or scale is None or zero_point is None:
            continue
        axis = attribute(node, "axis", 1)
        assert isinstance(axis, int)
        codes = quantize(weight, scale, zero_point, axis)
        if wiring.alone_reads(node, node.input[0]):
            model.graph.initializer.remove(wiring.stored[node.input[0]])  # its codes take over the name
        name = store(model.graph, node.input[0], codes)
        # One zero point each: ONNX Runtime's exact mode rewrites them by name and stumbles over a shared one.
        zero = store(model.graph, f"{node.input[0]}_zero_point", zero_point)
        for reader in wiring.readers[node.output[0]]:
            reader.input[0], reader.input[2] = name, zero
        model.graph.node.remove(node)


def quantize(value: Array, scale: Array, zero_point: Array, axis: int) -> Array:
    """QuantizeLinear in numpy: divide, round to even, add the zero point, saturate."""
    if scale.ndim == 1:
        shape = [1] * value.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    limits = np.iinfo(np.int8 if zero_point.dtype == np.int8 else np.uint8)
    codes = np.rint(np.divide(value, scale, dtype=np.float32)) + zero_point.astype(np.float32)
    saturated: Array = np.clip(codes, limits.min, limits.max).astype(zero_point.dtype)
    return saturated
