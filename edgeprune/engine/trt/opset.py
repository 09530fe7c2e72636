"""A model in an older or newer opset, for the operators whose form changed between 17 and 19.

torch's exporter writes 18 at the least; TensorRT 8 parses up to 17, and half-precision quantizers need 19. The changes
are those of ONNX's Operators.md: in 18 reductions take their axes as an input, Split its number of outputs as an
attribute, Pad its axes, Resize three new attributes; 19 adds types, and attributes whose defaults are the old meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeprune.engine.trt.onnx_file import (
    ATTRIBUTE_INTS,
    array_of,
    attribute,
    drop_attribute,
    int_of,
    new_tensor,
    opset_of,
    set_opset,
)
from edgeprune.errors import EdgepruneError

REDUCTIONS = (
    "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceSumSquare",
)  # fmt: skip
"""ReduceSum has taken its axes as an input since 13."""
NEW_IN_18 = {"Resize": ("antialias", "axes", "keep_aspect_ratio_policy"), "ScatterND": ("reduction",)}
ONLY_FROM_18 = ("GroupNormalization", "Mish", "Col2Im", "CenterCropPad", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
LOWEST, HIGHEST = 17, 19


def to_opset(model: Any, version: int) -> None:
    """Rewrite a model of opset 17 to 19 in place; one that is there already stays as it is.

    Raises:
        EdgepruneError: an operator has no such form; the text names it.
    """
    now = opset_of(model)
    if now == version:
        return
    if not (LOWEST <= version <= HIGHEST and now >= LOWEST):
        raise EdgepruneError(f"opset {now} cannot be turned into {version}. Export the bundle with opset 17 to 19.")
    if now > HIGHEST > version:
        raise EdgepruneError(f"opset {now} cannot be turned into {version}. Export the bundle for this TensorRT.")
    if now >= 18 > version:
        for node in model.graph.node:
            _lower(model.graph, node, version)
    elif now < 18 <= version:
        raise EdgepruneError(f"opset {now} cannot be turned into {version}. Export the bundle with opset 18.")
    set_opset(model, version)


def _lower(graph: Any, node: Any, version: int) -> None:
    if node.op_type in ONLY_FROM_18:
        raise EdgepruneError(f"{node.name}: {node.op_type} does not exist in opset {version}. Use a newer TensorRT.")
    for name in NEW_IN_18.get(node.op_type, ()):
        found = attribute(node, name)
        if found is not None and (found.i or found.ints or found.s not in (b"", b"stretch", b"none")):
            raise EdgepruneError(f"{node.name}: {node.op_type} needs {name}, which opset {version} has not.")
        drop_attribute(node, name)
    lower = LOWERED.get(node.op_type)
    if lower is not None:
        lower(graph, node)


def _axes_as_attribute(graph: Any, node: Any) -> None:
    if len(node.input) > 1 and node.input[1]:
        node.attribute.add(name="axes", ints=_constant(graph, node, 1), type=ATTRIBUTE_INTS)
    elif int_of(node, "noop_with_empty_axes", 0):
        raise EdgepruneError(f"{node.name}: a {node.op_type} over no axes has no older form. Use a newer TensorRT.")
    drop_attribute(node, "noop_with_empty_axes")
    del node.input[1:]


def _split_sizes(graph: Any, node: Any) -> None:
    """Equal parts are what a Split without sizes has always meant; the last may not be smaller there."""
    del graph
    drop_attribute(node, "num_outputs")


def _pad_all_axes(graph: Any, node: Any) -> None:
    if len(node.input) > 3 and node.input[3]:
        axes, pads = _constant(graph, node, 3), _constant(graph, node, 1)
        rank = _rank(graph, node.input[0])
        if rank is None:
            raise EdgepruneError(f"{node.name}: its input has no known rank. Use a newer TensorRT.")
        whole = [0] * (2 * rank)
        for at, axis in enumerate(axes):
            whole[axis % rank], whole[axis % rank + rank] = pads[at], pads[at + len(axes)]
        name = f"{node.input[1]}_all_axes"
        if not any(tensor.name == name for tensor in graph.initializer):
            graph.initializer.append(new_tensor(name, np.array(whole, np.int64)))
        node.input[1] = name
    del node.input[3:]


def _constant(graph: Any, node: Any, position: int) -> list[int]:
    name = node.input[position]
    for tensor in graph.initializer:
        if tensor.name == name:
            return [int(value) for value in array_of(tensor).ravel()]
    for other in graph.node:
        if other.op_type == "Constant" and name in other.output:
            return [int(value) for value in array_of(attribute(other, "value").t).ravel()]
    raise EdgepruneError(f"{node.name}: its axes are computed, which has no older form. Use a newer TensorRT.")


def _rank(graph: Any, name: str) -> int | None:
    for value in (*graph.value_info, *graph.input):
        if value.name == name:
            return len(value.type.tensor_type.shape.dim)
    return None


LOWERED: dict[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys(REDUCTIONS, _axes_as_attribute),
    "Split": _split_sizes,
    "Pad": _pad_all_axes,
}
