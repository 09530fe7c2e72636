"""Weight scales so small that the bias does not fit into int32.

ONNX Runtime stores a fused layer's bias as int32 in units of (input scale x weight scale) and does not check
the range; a dead channel, which has the smallest scale there is, would get a wrong constant.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeprune.exporting.pairs import DQ, dequantized, scale_of
from edgeprune.exporting.weights import quantize
from edgeprune.exporting.wiring import Wiring, store

LIMIT = 2.0**30
"""Half of int32: the rest is for the products that are added to the bias."""


def make_biases_fit(model: onnx.ModelProto) -> None:
    """Raise the scale of such channels and round their weights anew.

    Exact for a channel of zeros. For any other the weights are at most a few millionths of the bias each, and
    their sum moves the output by less than one code.
    """
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and len(n.input) > 2]:
        source, weight = dequantized(wiring, node.input[0]), wiring.writer.get(node.input[1])
        bias = wiring.constant(node.input[2])
        if source is None or weight is None or weight.op_type != DQ or bias is None:
            continue
        codes, scale = wiring.constant(weight.input[0]), wiring.constant(weight.input[1])
        zero_point, input_scale = wiring.constant(weight.input[2]), scale_of(wiring, source)
        if codes is None or scale is None or zero_point is None or scale.ndim != 1 or not input_scale:
            continue
        raised = _raise(np.asarray(scale, np.float32), np.asarray(bias, np.float32), input_scale)
        if np.array_equal(raised, scale):
            continue
        shape = [-1] + [1] * (codes.ndim - 1)
        values = codes.astype(np.float32) * np.asarray(scale, np.float32).reshape(shape)
        weight.input[0] = store(model.graph, weight.input[0], quantize(values, raised, zero_point, 0))
        weight.input[1] = store(model.graph, weight.input[1], raised)


def _raise(scale: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    needed = np.abs(bias.astype(np.float64)) / (input_scale * LIMIT)
    return np.where(scale < needed, needed, scale).astype(np.float32)
