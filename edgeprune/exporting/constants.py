"""Constant nodes stored as initialisers, where every other pass looks for them."""

from __future__ import annotations

import onnx


def store_constants(model: onnx.ModelProto) -> None:
    graph = model.graph
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is None:
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
