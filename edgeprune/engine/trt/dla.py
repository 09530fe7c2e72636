"""Which layers a DLA could run, by NVIDIA's published restrictions; a plan, since nothing is built for a DLA here.

Limits: NVIDIA TensorRT documentation, "DLA Supported Layers and Restrictions". INT8 on the DLA of JetPack 5 and 6 takes
ranges from a calibration table and no Q/DQ (NVIDIA, "Working with DLA": explicit quantization is not supported).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.engine.trt.onnx_file import array_of, int_of, ints_of, read_model
from edgeprune.spec.target import Target

CARRIED = {"QuantizeLinear", "DequantizeLinear", "Identity", "Dropout", "Constant"}
"""What is folded into its neighbours, and is no layer of its own."""
PLAIN = {
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Concat",
    "GlobalAveragePool", "Slice", "BatchNormalization", "LRN",
}  # fmt: skip
KERNEL, STRIDE, PADDING, DILATION, CHANNELS, WINDOW, POOL_STRIDE, POOL_PADDING = 32, 8, 31, 32, 8192, 8, 16, 7
TRANSPOSED_STRIDE = 32
WeightOf = Callable[[Any], tuple[int, ...]]
"""The shape of a node's weight; empty where it is not stored."""


@dataclass(frozen=True)
class DlaLayer:
    """A node of the graph; `reason`: why a DLA cannot run it, None where it can."""

    name: str
    op: str
    reason: str | None


@dataclass(frozen=True)
class DlaPlan:
    layers: list[DlaLayer]
    needs: list[str]


def dla_plan(model: Path, target: Target, fixed_batch: bool = True) -> DlaPlan:
    """Check every node; and say what a DLA of each JetPack would need."""
    graph = read_model(model).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}

    def weight_of(node: Any) -> tuple[int, ...]:
        name = node.input[1]
        while name in writers and writers[name].op_type in CARRIED and writers[name].input:
            name = writers[name].input[0]
        return tuple(array_of(stored[name]).shape) if name in stored else ()

    layers = [
        DlaLayer(node.name, node.op_type, _reason(node, weight_of))
        for node in graph.node
        if node.op_type not in CARRIED
    ]
    quantized = any(node.op_type == "QuantizeLinear" for node in graph.node)
    return DlaPlan(layers, _needs(target, quantized, fixed_batch))


def _reason(node: Any, weight_of: WeightOf) -> str | None:
    check = CHECKS.get(node.op_type)
    return f"no DLA runs {node.op_type}" if check is None else check(node, weight_of)


def _convolution(node: Any, weight_of: WeightOf) -> str | None:
    shape = weight_of(node)
    if len(shape) != 4:
        return "only convolutions over two axes, with stored weights"
    transposed = node.op_type == "ConvTranspose"
    limits = [
        ("kernel", shape[2:], 1, KERNEL),
        ("stride", ints_of(node, "strides", (1, 1)), 1, TRANSPOSED_STRIDE if transposed else STRIDE),
        ("padding", ints_of(node, "pads", (0, 0, 0, 0)), 0, 0 if transposed else PADDING),
        ("dilation", ints_of(node, "dilations", (1, 1)), 1, 1 if transposed else DILATION),
        ("number of channels", shape[:2], 1, CHANNELS),
        ("number of groups", [int_of(node, "group", 1)], 1, CHANNELS),
    ]
    return _beyond(limits)


def _pooling(node: Any, weight_of: WeightOf) -> str | None:
    del weight_of
    if len(node.output) > 1 or int_of(node, "ceil_mode", 0):
        return "no pooling that rounds up or tells positions"
    limits = [
        ("window", ints_of(node, "kernel_shape", ()), 1, WINDOW),
        ("stride", ints_of(node, "strides", (1, 1)), 1, POOL_STRIDE),
        ("padding", ints_of(node, "pads", (0, 0, 0, 0)), 0, POOL_PADDING),
    ]
    return _beyond(limits)


def _gemm(node: Any, weight_of: WeightOf) -> str | None:
    if len(weight_of(node)) != 2:
        return "only products with stored weights, as a 1x1 convolution"
    return "only as a 1x1 convolution: keep the axes of space in front of it"


def _beyond(limits: Any) -> str | None:
    for what, values, least, most in limits:
        if any(not least <= value <= most for value in values):
            return f"{what} {'x'.join(map(str, values))}, from {least} to {most} fits"
    return None


def _fits(node: Any, weight_of: WeightOf) -> str | None:
    del node, weight_of
    return None


def _softmax(node: Any, weight_of: WeightOf) -> str | None:
    del node, weight_of
    return "only on Orin's DLA, over one axis of at most 1024 elements"


def _resize(node: Any, weight_of: WeightOf) -> str | None:
    del node, weight_of
    return "only by whole factors from 1 to 32, which is not checked here"


CHECKS: dict[str, Callable[[Any, WeightOf], str | None]] = {
    **dict.fromkeys(PLAIN, _fits),
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "Resize": _resize,
}


def _needs(target: Target, quantized: bool, fixed_batch: bool) -> list[str]:
    cores = target.dla_cores.value if target.dla_cores is not None else 0
    if not cores:
        return [f"{target.device} has no DLA"]
    int8 = (
        "its Q/DQ nodes taken out and their scales written as a calibration table, as that DLA takes no Q/DQ"
        if quantized
        else "nothing more for FP16"
    )
    fixed = [] if fixed_batch else ["a fixed number of images per call: --shape-range N"]
    return [
        f"JetPack 5 and 6 (TensorRT 8.5 to 10.7), {cores} core(s): {int8}; GPU fallback for the rest",
        "JetPack 7.0 to 7.2.1: not possible, these releases have no DLA driver",
        "JetPack 7.2.2 and later with TensorRT 11.4.1: on Jetson AGX Orin only, with the Q/DQ as they are",
        *fixed,
    ]
