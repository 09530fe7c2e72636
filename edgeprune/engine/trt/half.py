"""A float network, or what quantizers leave of one, in half precision; inputs and outputs stay single.

A strongly typed TensorRT network computes in the types that are written, so what is to run in half has to be written
in half. Q/DQ scales become half too (opset 19 allows that): then a dequantized tensor is half without a Cast, and the
pattern that TensorRT fuses stays as it was.
"""

from __future__ import annotations

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
"""Of a quantizer's scale in half, relative; where it would be more, that quantizer stays single."""
SINGLE_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are single by definition."""


@dataclass
class _Rewriting:
    graph: Any
    types: dict[str, int]
    """As they were."""
    stored: dict[str, Any]
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
    work = _Rewriting(graph, element_types(graph), {tensor.name: tensor for tensor in graph.initializer})
    for node in [*graph.node]:
        _rewrite(work, node)
    for output in graph.output:
        if work.now(output.name) == FLOAT16:
            _end_in_single(work, output.name)
    replace_nodes(graph, work.nodes)
    graph.ClearField("value_info")  # their types are others now
    _sweep(graph)


def to_half(array: NDArray[Any]) -> NDArray[np.float16]:
    """Round to half; what is beyond its range becomes its largest value, infinities (masks) included."""
    half: NDArray[np.float16] = np.clip(array, -MOST, MOST).astype(np.float16)
    return half


def _rewrite(work: _Rewriting, node: Any) -> None:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        wanted = FLOAT16 if _fits(work, node) else FLOAT
    else:
        wanted = FLOAT if node.op_type in SINGLE else FLOAT16
    kept = SINGLE_INPUTS.get(node.op_type, ())
    for position, name in enumerate(node.input):
        node.input[position] = work.as_type(name, FLOAT if position in kept else wanted)
    if wanted == FLOAT16:
        _retype(node)
    work.nodes.append(node)
    for name in node.output:
        if work.types.get(name) == FLOAT:
            work.halves[name] = wanted


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
    for copy, tensor in zip(copies, kept, strict=True):
        copy.CopyFrom(tensor)
    graph.ClearField("initializer")
    graph.initializer.extend(copies)
