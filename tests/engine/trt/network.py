"""A residual network in INT8 as TensorRT wants it, and a bundle of it, made without torch: the device half has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from edgeprune.spec.bundle import (
    GOLDEN,
    LABELS,
    MODEL,
    GoldenCheck,
    Manifest,
    Preprocessing,
    Tensor,
    file_sum,
    write_manifest,
)

SIDE, WIDTH, CLASSES = 12, 16, 3


class _Writing:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.stored: list[Any] = []

    def store(self, name: str, array: NDArray[Any]) -> str:
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=name or output, **attributes))
        return output

    def quantized(self, x: str, scale: float) -> str:
        """Codes of an activation, and back."""
        ends = [self.store(f"{x}_scale", np.array(scale, np.float32)), self.store(f"{x}_zero", np.array(0, np.int8))]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [x, *ends], f"{x}_q"), *ends], f"{x}_dq")

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """Stored codes, one scale for each output channel."""
        codes = self.store(f"{name}.weight", self.rng.integers(-127, 128, shape).astype(np.int8))
        fan = int(np.prod(shape[1:]))
        scale = self.store(f"{name}.weight_scale", np.full(shape[0], 0.02 / np.sqrt(fan), np.float32))
        zero = self.store(f"{name}.weight_zero", np.zeros(shape[0], np.int8))
        return self.add("DequantizeLinear", [codes, scale, zero], f"{name}.weight_dq", axis=0)

    def layer(self, op: str, x: str, name: str, shape: tuple[int, ...], **attributes: Any) -> str:
        bias = self.store(f"{name}.bias", self.rng.normal(size=shape[0]).astype(np.float32))
        inputs = [self.quantized(x, 0.05), self.weight(name, shape), bias]
        return self.add(op, inputs, f"{name}_out", name, **attributes)


def network() -> ModelProto:
    """Two convolutions with a sum around the second, a mean over space, and a linear layer; opset 18."""
    work, around = _Writing(), {"pads": [1, 1, 1, 1]}
    x = work.add("Relu", [work.layer("Conv", "input", "stem.0", (WIDTH, 3, 3, 3), **around)], "relu_out", "relu")
    y = work.layer("Conv", x, "a.0", (WIDTH, WIDTH, 3, 3), **around)
    y = work.add("Relu", [work.add("Add", [y, x], "sum", "add")], "relu_1_out", "relu_1")
    axes = work.store("axes", np.array([2, 3], np.int64))
    y = work.add("ReduceMean", [y, axes], "mean_out", "mean", keepdims=0)
    work.layer("Gemm", y, "head", (CLASSES, WIDTH), transB=1)
    work.nodes[-1].output[0] = "output"
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES]),
    ]
    graph = helper.make_graph(work.nodes, "residual", ends[:1], ends[1:], work.stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    inferred: ModelProto = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    checker.check_model(inferred, full_check=True)
    return inferred


def half_limit() -> float:
    """How far half precision may be from single, relative: ONNX Runtime 1.23 truncates in half where others round."""
    ends = [
        helper.make_tensor_value_info(name, kind, [1])
        for name, kind in (("x", TensorProto.FLOAT16), ("y", TensorProto.INT8))
    ]
    stored = [
        numpy_helper.from_array(np.array(value), name) for name, value in (("s", np.float16(1)), ("z", np.int8(0)))
    ]
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], "g", *([end] for end in ends), stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    rounds = answers(model.SerializeToString(), np.array([1.7], np.float16))[0] == 2
    return 0.03 if rounds else 0.1


def answers(content: bytes, x: NDArray[Any]) -> NDArray[np.float32]:
    """By ONNX Runtime, node by node."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def write_bundle(folder: Path) -> Path:
    """A bundle for jetson-orin-nano."""
    folder.mkdir()
    content = network().SerializeToString()
    x = np.random.default_rng(1).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    y = answers(content, x)
    (folder / MODEL).write_bytes(content)
    np.savez(folder / GOLDEN, input=x, output=y)
    (folder / LABELS).write_text("blue\ngreen\nred\n", encoding="utf-8")
    manifest = Manifest(
        name="residual",
        created="2026-11-26T00:00:00+00:00",
        edgeprune_version="0.1.0",
        target="jetson-orin-nano",
        runtime="tensorrt",
        precision="int8",
        lowering="tensorrt",
        weight_bits=8,
        input=Tensor(name="input", shape=x.shape[1:]),
        output=Tensor(name="output", shape=y.shape[1:]),
        preprocessing=Preprocessing(
            channels="RGB", resize_shorter_to=SIDE, crop=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        golden=GoldenCheck(count=len(x), tolerance=0.1),
        macs=1,
        params=1,
        int8_macs_share=None,
        int8_macs_measured_with=None,
        accuracy=None,
        accuracy_se=None,
        recipe={},
        files={name: file_sum(folder / name) for name in (MODEL, GOLDEN, LABELS)},
    )
    write_manifest(folder, manifest)
    return folder
