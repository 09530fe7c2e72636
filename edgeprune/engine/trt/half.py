"""A float network, or what quantizers leave of one, in half precision; inputs and outputs stay single.

A strongly typed TensorRT network computes in the types that are written, so what is to run in half has to be written
in half. Q/DQ scales become half too (opset 19 allows that): then a dequantized tensor is half without a Cast, and the
pattern that TensorRT fuses stays as it was. A layer one of whose scales half cannot hold stays single with all its
quantizers, for the same reason: with a Cast behind a DequantizeLinear it would not run in INT8.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.trt.element_types import element_types
from edgeprune.engine.trt.onnx_file import (
    FLOAT,
    FLOAT16,
    array_of,
    attribute,
    new_node,
    new_tensor,
    opset_of,
    replace_nodes,
    store,
)
from edgeprune.engine.trt.opset import to_opset

SINGLE = frozenset({
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization", "Softmax", "LogSoftmax",
    "ReduceMean", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "CumSum",
    "Exp", "Log", "Pow", "Reciprocal", "RandomNormalLike", "Range", "GridSample", "NonMaxSuppression",
})  # fmt: skip
"""Sums over many elements and functions that leave half's range: kept in single precision, between Casts."""
HALF_OPSET = 19
MOST = float(np.finfo(np.float16).max)
SCALE_ERROR = 1e-3
"""Of a quantizer's scale in half, relative; where it would be more, that quantizer and its layer stay single."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FUSED = frozenset({"Relu", "Clip", "LeakyRelu"})
"""What TensorRT computes in the kernel of the layer before: in that layer's type, since a Cast would part them."""
SINGLE_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are single by definition."""


@dataclass
class _Rewriting:
    graph: Any
    types: dict[str, int]
    """As they were."""
    stored: dict[str, Any]
    writers: dict[str, Any]
    """Nodes by output, as they were: with their own names and scales."""
    single: set[str] = field(default_factory=set)
    """Outputs of layers that stay single because of their scales, and of what is fused with them."""
    nodes: list[Any] = field(default_factory=list)
    casts: dict[tuple[str, int], str] = field(default_factory=dict)
    halves: dict[str, int] = field(default_factory=dict)
    """As they are now: of tensors that were single."""

    def now(self, name: str) -> int:
        return self.halves.get(name, self.types.get(name, 0))

    def as_type(self, name: str, wanted: int) -> str:
        """The tensor in a type, through a Cast where it has the other one; a stored one is stored again."""
        if not name or self.types.get(name) != FLOAT or self.now(name) == wanted:
            return name
        if (name, wanted) not in self.casts:
            cast = f"{name}_{'half' if wanted == FLOAT16 else 'single'}"
            if name in self.stored:
                self.graph.initializer.append(new_tensor(cast, to_half(array_of(self.stored[name]))))
            elif wanted == FLOAT and self.writers[name].op_type == "DequantizeLinear":
                self.nodes.append(_renamed(self.writers[name], cast))
            else:
                self.nodes.append(new_node("Cast", [name], [cast], cast, to=wanted))
            self.casts[name, wanted] = cast
        return self.casts[name, wanted]


def in_half(model: Any) -> None:
    """Rewrite a model in place. Weights beyond half's range are clamped to it.

    Raises:
        EdgepruneError: its opset cannot be raised to the one that half-precision quantizers need.
    """
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node) and opset_of(model) < HALF_OPSET:
        to_opset(model, HALF_OPSET)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    writers = {name: copy.deepcopy(node) for node in graph.node for name in node.output}
    work = _Rewriting(graph, element_types(graph), stored, writers)
    for node in [*graph.node]:
        _rewrite(work, node)
    for output in graph.output:
        if work.now(output.name) == FLOAT16:
            _end_in_single(work, output.name)
    replace_nodes(graph, _read(graph, work.nodes))
    graph.ClearField("value_info")  # their types are others now
    _sweep(graph)


def to_half(array: NDArray[Any]) -> NDArray[np.float16]:
    """Round to half; what is beyond its range becomes its largest value, infinities (masks) included."""
    half: NDArray[np.float16] = np.clip(array, -MOST, MOST).astype(np.float16)
    return half


def _rewrite(work: _Rewriting, node: Any) -> None:
    wanted = FLOAT if _stays_single(work, node) else FLOAT16
    kept = SINGLE_INPUTS.get(node.op_type, ())
    for position, name in enumerate(node.input):
        node.input[position] = work.as_type(name, FLOAT if position in kept else wanted)
    if wanted == FLOAT16:
        _retype(node)
    work.nodes.append(node)
    for name in node.output:
        if work.types.get(name) == FLOAT:
            work.halves[name] = wanted


def _stays_single(work: _Rewriting, node: Any) -> bool:
    if node.op_type in SINGLE:
        return True
    if node.op_type in ("Constant", "ConstantOfShape") and attribute(node, "value") is None:
        return True  # a number, which is not rewritten
    if node.op_type == "DequantizeLinear":
        return not _fits(work, node)
    if node.op_type == "QuantizeLinear":
        return (work.now(node.input[0]) == FLOAT and node.input[0] not in work.stored) or not _fits(work, node)
    behind = node.op_type in FUSED and node.input[0] in work.single
    readers = [work.writers[name] for name in node.input if name in work.writers]
    scales = [writer for writer in readers if writer.op_type == "DequantizeLinear"]
    if behind or (node.op_type in WEIGHTED and not all(_fits(work, writer) for writer in scales)):
        work.single.update(node.output)
        return True
    return False


def _fits(work: _Rewriting, node: Any) -> bool:
    """Whether half holds a quantizer's scales closely enough; computed ones are not known."""
    if node.input[1] not in work.stored:
        return False
    scale = array_of(work.stored[node.input[1]]).astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = scale.astype(np.float16).astype(np.float64)
    return bool(np.all(np.abs(rounded - scale) <= SCALE_ERROR * scale))


def _retype(node: Any) -> None:
    """Types that a node states itself."""
    if node.op_type == "Cast" and attribute(node, "to").i == FLOAT:
        attribute(node, "to").i = FLOAT16
    if node.op_type in ("Constant", "ConstantOfShape"):
        value = attribute(node, "value")
        if value is not None and value.t.data_type == FLOAT:
            store(value.t, to_half(array_of(value.t)))


def _renamed(node: Any, output: str) -> Any:
    """A node that computes the same under another name."""
    again = copy.deepcopy(node)
    again.name = output
    again.output[0] = output
    return again


def _read(graph: Any, nodes: list[Any]) -> list[Any]:
    """Nodes without the dequantizers that nothing reads any more."""
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    return [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read]


def _end_in_single(work: _Rewriting, name: str) -> None:
    """Let the node that wrote an output write it in half under another name, and a Cast the output."""
    inner = f"{name}_half"
    for node in work.nodes:
        for names in (node.input, node.output):
            for position, each in enumerate(names):
                if each == name:
                    names[position] = inner
    work.nodes.append(new_node("Cast", [inner], [name], f"{name}_single", to=FLOAT))


def _sweep(graph: Any) -> None:
    """Drop stored tensors that nothing reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [type(tensor)() for tensor in kept]
    for again, tensor in zip(copies, kept, strict=True):
        again.CopyFrom(tensor)
    graph.ClearField("initializer")
    graph.initializer.extend(copies)
