"""One trained graph, two dialects of Q/DQ: what ONNX Runtime fuses, and what TensorRT takes."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.bias import make_biases_fit
from edgeprune.exporting.hoist import hoist_quantizers
from edgeprune.exporting.logits import fit_last_bias
from edgeprune.exporting.pairs import activation_quantizers, zero_point_of
from edgeprune.exporting.saturate import drop_saturated
from edgeprune.exporting.sink import sink_dequantizers
from edgeprune.exporting.unshare import copy_shared_weights
from edgeprune.exporting.unsigned import make_unsigned
from edgeprune.exporting.wiring import Wiring, sort, sweep

ONNXRUNTIME = (
    copy_shared_weights,
    hoist_quantizers,
    make_unsigned,
    drop_saturated,
    sink_dequantizers,
    make_biases_fit,
    fit_last_bias,
)


def to_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that ONNX Runtime runs in integer kernels, with the codes of the original.

    A convolution whose output has no quantizer, as before an add in a graph placed for TensorRT, stays float:
    no trained scale says which codes it would have.
    """
    lowered = _copy(model)
    for step in ONNXRUNTIME:
        step(lowered)
    return _finished(lowered)


def to_tensorrt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with signed codes only, as it was trained.

    Raises:
        EdgepruneError: the network was trained with unsigned codes, which TensorRT refuses.
    """
    lowered = _copy(model)
    wiring = Wiring(lowered)
    for quantizer in activation_quantizers(wiring):
        zero_point = zero_point_of(wiring, quantizer)
        if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
            raise EdgepruneError(
                f"{quantizer.input[0]} was trained with unsigned codes, which TensorRT refuses. "
                "Quantize for a TensorRT target."
            )
    return _finished(lowered)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    sweep(model)
    sort(model.graph)
    del model.graph.value_info[:]  # codes have other types now
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred
