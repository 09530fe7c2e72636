"""INT8 weights as floats behind a quantizer of their own, which is how TensorRT 8 wants them.

A bundle stores codes and a DequantizeLinear. The float of a code divided by its scale rounds to that code again, so the
network computes the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune.engine.trt.onnx_file import CLASSES, INT8, array_of, int_of, new_node, new_tensor, replace_nodes


def store_floats(model: Any) -> None:
    """Rewrite every stored INT8 tensor that is dequantized, in place."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    quantized: dict[str, str] = {}
    for node in graph.node:
        codes = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if codes is not None and codes.data_type == INT8 and node.input[1] in stored:
            if codes.name not in quantized:
                quantized[codes.name] = f"{codes.name}_codes"
                nodes.append(_quantizer(graph, node, codes, stored[node.input[1]], quantized[codes.name]))
            node.input[0] = quantized[codes.name]
        nodes.append(node)
    replace_nodes(graph, nodes)
    kept = [tensor for tensor in graph.initializer if tensor.name not in quantized]
    copies = [CLASSES["Tensor"].FromString(tensor.SerializeToString()) for tensor in kept]
    graph.ClearField("initializer")
    graph.initializer.extend(copies)


def _quantizer(graph: Any, node: Any, codes: Any, scale: Any, output: str) -> Any:
    """Store the floats of some codes, and return what makes codes of them again."""
    values, scales = array_of(codes).astype(np.float32), array_of(scale).astype(np.float32)
    axis = int_of(node, "axis", 1)
    if scales.size > 1:
        around = [1] * values.ndim
        around[axis] = scales.size
        scales = scales.reshape(around)
    name = f"{codes.name}_float"
    graph.initializer.append(new_tensor(name, (values * scales).astype(np.float32)))
    ints = {"axis": axis} if scales.size > 1 else {}
    return new_node("QuantizeLinear", [name, *node.input[1:]], [output], f"{codes.name}_q", **ints)
