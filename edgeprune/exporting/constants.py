"""Constants stored as initialisers, where every other pass looks for them, and single numbers as scalars."""

from __future__ import annotations

from collections.abc import Container

import onnx

from edgeprune.exporting.wiring import Wiring

ARITHMETIC = {"Add", "Div", "Mul", "Pow", "Sub"}


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


def make_scalars(model: onnx.ModelProto, stored: Container[str]) -> None:
    """Let a constant of one float that the exporter wrote, as attention's scale, be a scalar and no vector of one.

    It broadcasts alike, and who counts the parameters of the file does not take it for one. `stored`: the names of the
    network's own tensors, which stay.
    """
    wiring = Wiring(model)
    for tensor in model.graph.initializer:
        readers = wiring.readers.get(tensor.name, [])
        arithmetic = all(reader.op_type in ARITHMETIC for reader in readers)
        own = tensor.name in stored or tensor.data_type != onnx.TensorProto.FLOAT
        if list(tensor.dims) == [1] and arithmetic and not own:
            del tensor.dims[:]
