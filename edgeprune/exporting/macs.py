"""Multiply-adds of an ONNX graph, counted from the shapes that a run had."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edgeprune.exporting.session import open_session
from edgeprune.exporting.wiring import Array, Wiring, attribute
from edgeprune.model.letters import contracted_axes

# Position of the weight among the inputs, by operator, in any domain (com.microsoft holds the fused and NHWC
# forms).
INT8 = {
    "QLinearConv": 3,
    "QGemm": 3,
    "QLinearMatMul": 3,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
FLOAT = {
    "Conv": 1,
    "FusedConv": 1,
    "NhwcFusedConv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "FusedGemm": 1,
    "MatMul": 1,
    "FusedMatMul": 1,
    "Einsum": 1,
}


Shapes = dict[str, tuple[list[list[int]], list[int]]]
"""Of each node's inputs and of its first output, by node name."""
Feed = Callable[[ort.InferenceSession], dict[str, Array]]


def macs_per_node(model_path: Path, input_shape: tuple[int, ...], optimise: bool) -> list[tuple[onnx.NodeProto, int]]:
    """Run the model on one image and count each contraction, as written or as ONNX Runtime made it."""

    def one_image(session: ort.InferenceSession) -> dict[str, Array]:
        return {session.get_inputs()[0].name: np.zeros((1, *input_shape), np.float32)}

    return count_macs(*run_once(model_path, one_image, optimise))


def run_once(model_path: Path, feed: Feed, optimise: bool) -> tuple[onnx.ModelProto, Shapes]:
    """Run the model, and return the graph that ran, as written or as ONNX Runtime made it, with its nodes' shapes."""
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        graph_path = Path(folder) / "graph.onnx"
        options.optimized_model_filepath = str(graph_path)
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(model_path, options)
        session.run(None, feed(session))
        shapes = _shapes(Path(session.end_profiling()))
        return onnx.load(graph_path), shapes


def _shapes(profile: Path) -> Shapes:
    """Shapes of each node's inputs and of its first output, by node name."""
    shapes: Shapes = {}
    for event in json.loads(profile.read_text()):
        arguments: dict[str, Any] = event.get("args", {})
        outputs, inputs = arguments.get("output_type_shape"), arguments.get("input_type_shape")
        if event.get("cat") == "Node" and outputs and inputs:
            node = event["name"].removesuffix("_kernel_time")
            shapes[node] = [next(iter(each.values())) for each in inputs], next(iter(outputs[0].values()))
    return shapes


def count_macs(model: onnx.ModelProto, shapes: Shapes) -> list[tuple[onnx.NodeProto, int]]:
    """Count each contraction of a graph that ran."""
    wiring, counted = Wiring(model), []
    for node in wiring.graph.node:
        position = {**INT8, **FLOAT}.get(node.op_type)
        if position is None or len(node.input) <= position or node.name not in shapes:
            continue
        inputs, written = shapes[node.name]
        weight = _stored_shape(wiring, node.input[position])
        if node.op_type == "Einsum":
            counted.append((node, _einsum_macs(node, inputs, written)))
        elif "MatMul" in node.op_type:  # summed over the last axis of the first factor, with weights or without
            summed = inputs[0][-2 if attribute(node, "transA", 0) else -1]
            counted.append((node, math.prod(written) * int(summed)))
        else:  # a kernel that is computed has the shape that it had in the run
            counted.append((node, _macs(node, weight or inputs[position], inputs[0], written)))
    return counted


def _stored_shape(wiring: Wiring, name: str) -> list[int] | None:
    """Shape of a weight, also behind a DequantizeLinear or Transpose; None for a computed tensor."""
    writer = wiring.writer.get(name)
    if writer is None:
        return list(wiring.stored[name].dims) if name in wiring.stored else None
    if writer.op_type in ("DequantizeLinear", "QuantizeLinear"):
        return _stored_shape(wiring, writer.input[0])
    if writer.op_type == "Transpose":
        before, order = _stored_shape(wiring, writer.input[0]), attribute(writer, "perm")
        if before is None:
            return None
        return [before[axis] for axis in order] if isinstance(order, list) else before[::-1]
    return None


def _macs(node: onnx.NodeProto, weight: list[int], read: list[int], written: list[int]) -> int:
    """Output elements times weight elements per output channel: true in NCHW and NHWC alike."""
    if node.op_type == "ConvTranspose":  # each input element meets the whole kernel of its channel
        return math.prod(read) * math.prod(weight[1:])
    rows_first = len(weight) > 2 or ("Gemm" in node.op_type and bool(attribute(node, "transB", 0)))
    channels = weight[0] if rows_first else weight[-1]
    return math.prod(written) * math.prod(weight) // channels


def _einsum_macs(node: onnx.NodeProto, inputs: list[list[int]], written: list[int]) -> int:
    """Output elements times the lengths that both factors are summed over."""
    equation = onnx.helper.get_node_attr_value(node, "equation").decode()
    axes = contracted_axes(equation, [len(shape) for shape in inputs])
    return math.prod(written) * math.prod(inputs[0][first] for first, _ in axes) if axes else 0
