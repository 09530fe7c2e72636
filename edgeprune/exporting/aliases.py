"""By which names a runtime may know a layer that it fused with what stands behind it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgeprune.spec.layer_costs import LayerShape

FUSED = {
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Add",
    "QuantizeLinear",
    "DequantizeLinear",
}
"""What ONNX Runtime and TensorRT fuse into the layer before it."""


def with_aliases(shapes: Sequence[LayerShape], model: onnx.ModelProto) -> tuple[LayerShape, ...]:
    """The shapes with the names of the tensor that each layer writes, and of the nodes that follow it in turn.

    A sum follows two layers; the runtime fuses it with one of them, and the other keeps its own name.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    named = {node.name: node for node in model.graph.node}
    return tuple(
        shape.model_copy(update={"aliases": tuple(_behind(named[shape.name], readers))})
        if shape.name in named
        else shape
        for shape in shapes
    )


def _behind(node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]) -> list[str]:
    found = [node.output[0]]
    while True:
        following = readers.get(node.output[0], [])
        if len(following) != 1 or following[0].op_type not in FUSED:
            return found
        node = following[0]
        found.append(node.name)
