"""Means over space as GlobalAveragePool, the only form of them with an INT8 kernel in ONNX Runtime."""

from __future__ import annotations

import onnx

from edgeprune.exporting.wiring import Wiring, attribute


def pool_globally(model: onnx.ModelProto) -> None:
    """Rewrite ReduceMean over the two spatial axes, and AveragePool over the full extent."""
    wiring = Wiring(model)
    for node in [*model.graph.node]:
        shape = wiring.shape(node.input[0]) if node.input else None
        if shape is None or len(shape) != 4:
            continue
        if node.op_type == "AveragePool" and _full(node, shape):
            _make_global(node)
        elif node.op_type == "ReduceMean" and _spatial(wiring, node):
            if attribute(node, "keepdims", 1):
                _make_global(node)
            else:
                _then_flatten(model.graph, node)


def _full(node: onnx.NodeProto, shape: list[int | None]) -> bool:
    pads = attribute(node, "pads")
    padded = isinstance(pads, list) and any(pads)
    return attribute(node, "kernel_shape") == shape[2:] and not padded


def _spatial(wiring: Wiring, node: onnx.NodeProto) -> bool:
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        stored = wiring.constant(node.input[1])
        axes = None if stored is None else stored.tolist()
    return isinstance(axes, list) and sorted(axis % 4 for axis in axes) == [2, 3]


def _make_global(node: onnx.NodeProto) -> None:
    node.op_type = "GlobalAveragePool"
    del node.attribute[:]
    del node.input[1:]


def _then_flatten(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    result = node.output[0]
    _make_global(node)
    node.output[0] = f"{result}_pooled"
    at = next(i for i, other in enumerate(graph.node) if other.output[0] == node.output[0])
    flatten = onnx.helper.make_node("Flatten", node.output[:1], [result], name=f"{result}_flatten", axis=1)
    graph.node.insert(at + 1, flatten)
