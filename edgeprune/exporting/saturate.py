"""ReLU and Clip in front of a Q that saturates at the same values: the Q alone does it, within the kernel."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.pairs import activation_quantizers, scale_of, zero_point_of
from edgeprune.exporting.wiring import Wiring


def drop_saturated(model: onnx.ModelProto) -> None:
    """Remove Relu, and Clip whose bound has the largest code, before a Q with uint8 codes from 0."""
    wiring = Wiring(model)
    for quantizer in activation_quantizers(wiring):
        zero_point, scale = zero_point_of(wiring, quantizer), scale_of(wiring, quantizer)
        node = wiring.writer.get(quantizer.input[0])
        if zero_point is None or zero_point.dtype != np.uint8 or zero_point.any() or node is None or scale is None:
            continue
        if not wiring.alone_reads(quantizer, node.output[0]):
            continue
        if node.op_type == "Relu" or (node.op_type == "Clip" and _redundant(wiring, node, quantizer, scale)):
            quantizer.input[0] = node.input[0]
            model.graph.node.remove(node)


def _redundant(wiring: Wiring, clip: onnx.NodeProto, quantizer: onnx.NodeProto, scale: float) -> bool:
    bounds = [wiring.constant(name) if name else None for name in [*clip.input[1:3], "", ""][:2]]
    low, high = (None if bound is None else np.float32(bound.item()) for bound in bounds)
    if low is not None and low > 0:
        return False
    return high is None or bool(np.rint(high / np.float32(scale)) >= _largest_code(wiring, quantizer))


def _largest_code(wiring: Wiring, quantizer: onnx.NodeProto) -> int:
    """127 behind the cap of a signed tensor, else 255."""
    reader = wiring.only_reader(quantizer.output[0])
    if reader is None or reader.op_type != "Min":
        return 255
    cap = wiring.constant(reader.input[1])
    return 255 if cap is None else int(cap.item())
