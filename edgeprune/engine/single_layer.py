"""One layer as an ONNX file, in the dialect that a bundle speaks, to be timed alone.

Weights are random: no kernel that edgeprune targets takes longer or shorter for their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.onnx_wire import Node, model_bytes
from edgeprune.spec.layer_costs import Family

Dialect = Literal["onnxruntime", "tensorrt", "float"]
NAME = "layer"
"""Of the node in question, or part of what a runtime calls it; what stands around it has other names."""
SCALE, WEIGHT_SCALE, TOP = 0.02, 0.002, 127


def single_layer(family: Family, inputs: int, outputs: int, dialect: Dialect) -> tuple[bytes, tuple[int, ...]]:
    """The file, and the shape of its input without the batch axis.

    In INT8 as a bundle has it: for ONNX Runtime unsigned codes go in and come out (a ReLU folds into the latter); for
    TensorRT signed ones go in.
    """
    rng = np.random.default_rng(0)
    shape = _weight_shape(family, inputs, outputs)
    x, y = _sides(family, inputs, outputs)
    codes = rng.integers(-TOP, TOP + 1, size=shape, dtype=np.int8)
    weights: dict[str, NDArray[np.generic]] = {"bias": rng.normal(size=outputs).astype(np.float32)}
    if dialect == "float":
        weights["w"] = codes.astype(np.float32) * np.float32(WEIGHT_SCALE)
        # ONNX Runtime calls a layer that swallowed its ReLU by the tensor that this writes.
        nodes = [*_layer(family, "x", "w", outputs), Node("Relu", ["out"], NAME, "relu")]
        return model_bytes(nodes, weights, ("x", x), (NAME, y)), x
    before, after = _quantizers(weights, codes, dialect, _channel_axis(family))
    nodes = [*before, *_layer(family, "xd", "wd", outputs), *after]
    return model_bytes(nodes, weights, ("x", x), ("y", y)), x


def _quantizers(
    weights: dict[str, NDArray[np.generic]], codes: NDArray[np.int8], dialect: Dialect, axis: int
) -> tuple[list[Node], list[Node]]:
    kind = np.uint8 if dialect == "onnxruntime" else np.int8
    channels = codes.shape[axis]
    weights |= {
        "w": codes,
        "scale": np.array(SCALE, np.float32),
        "zero": np.array(0, kind),
        "w_scale": np.full(channels, WEIGHT_SCALE, np.float32),
        "w_zero": np.zeros(channels, np.int8),
    }
    before = [
        Node("QuantizeLinear", ["x", "scale", "zero"], "xq"),
        Node("DequantizeLinear", ["xq", "scale", "zero"], "xd"),
        Node("DequantizeLinear", ["w", "w_scale", "w_zero"], "wd", attributes={"axis": axis}),
    ]
    if dialect == "tensorrt":
        return before, [Node("Relu", ["out"], "y", "relu")]
    after = [
        Node("Relu", ["out"], "r", "relu"),
        Node("QuantizeLinear", ["r", "scale", "zero"], "rq"),
        Node("DequantizeLinear", ["rq", "scale", "zero"], "y"),
    ]
    return before, after


def _layer(family: Family, x: str, w: str, outputs: int) -> list[Node]:
    if family.op != "linear":
        attributes: dict[str, int | Sequence[int]] = {
            "kernel_shape": family.kernel,
            "strides": family.stride,
            "pads": (*family.padding, *family.padding),
            "dilations": family.dilation,
            "group": outputs if family.op == "depthwise" else 1,
        }
        return [Node("Conv", [x, w, "bias"], "out", NAME, attributes)]
    if family.height == 1:
        return [Node("Gemm", [x, w, "bias"], "out", NAME, {"transB": 1})]
    return [Node("MatMul", [x, w], "product", NAME), Node("Add", ["product", "bias"], "out", "add")]


def _weight_shape(family: Family, inputs: int, outputs: int) -> tuple[int, ...]:
    if family.op == "linear":
        return (outputs, inputs) if family.height == 1 else (inputs, outputs)
    return (outputs, 1 if family.op == "depthwise" else inputs, *family.kernel)


def _channel_axis(family: Family) -> int:
    return 1 if family.op == "linear" and family.height > 1 else 0


def _sides(family: Family, inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of input and output, without the batch axis."""
    if family.op == "linear":
        rows = () if family.height == 1 else (family.height,)
        return (*rows, inputs), (*rows, outputs)
    channels = outputs if family.op == "depthwise" else inputs
    high, wide = family.places
    return (channels, family.height, family.width), (outputs, high, wide)
