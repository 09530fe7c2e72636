"""Nodes named for the module they come from, and nothing of the machine that exported them."""

from __future__ import annotations

import re

import onnx

BETWEEN = ("DequantizeLinear", "QuantizeLinear", "Transpose")
"""What may stand between a stored weight and its layer; behind anything else it is no weight but an activation."""


def name_nodes(model: onnx.ModelProto) -> None:
    """Call a node with weights by its module's path (`layer1.0.conv1`), any other by the tensor it writes.

    The exporter's metadata go: they hold paths and source lines of the user's machine.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    writer = {name: node for node in graph.node for name in node.output}
    taken: set[str] = set()
    for node in graph.node:
        name = node.output[0]
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose") and len(node.input) > 1:
            weight = node.input[1]
            while weight in writer and writer[weight].op_type in BETWEEN:
                weight = writer[weight].input[0]
            if weight in stored:
                name = weight.removesuffix(".weight")
        while name in taken:  # a module that is called twice
            name += "_"
        taken.add(name)
        node.name = name
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del graph.metadata_props[:]
    del model.metadata_props[:]
    graph.doc_string = model.doc_string = ""
    graph.name = "edgeprune"


def name_batch(model: onnx.ModelProto, name: str) -> None:
    """Give the dynamic batch axis its name wherever the exporter wrote the symbol that it traced with."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    word = re.compile(rf"\b{re.escape(symbol)}\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = word.sub(name, axis.dim_param)
