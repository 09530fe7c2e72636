"""Who writes and who reads each tensor of an ONNX graph, and small edits that keep it true."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[np.generic]


class Wiring:
    """An index over a model's main graph; after nodes were added or removed, build it anew."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph: onnx.GraphProto = model.graph
        self.stored: dict[str, onnx.TensorProto] = {t.name: t for t in self.graph.initializer}
        self.writer: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            self.writer.update(dict.fromkeys(node.output, node))
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.outputs: set[str] = {value.name for value in self.graph.output}

    def constant(self, name: str) -> Array | None:
        """The value of a stored tensor, or None for a computed one."""
        tensor = self.stored.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor; None if there are more, or none, or it leaves the graph."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def alone_reads(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a node is the one reader of a tensor."""
        return self.only_reader(name) is node

    def shape(self, name: str) -> list[int | None] | None:
        """The shape that the exporter wrote down, with None for dynamic axes; None if it wrote none."""
        if name in self.stored:
            return list(self.stored[name].dims)
        for value in (*self.graph.value_info, *self.graph.input, *self.graph.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                return [d.dim_value if d.HasField("dim_value") else None for d in dims]
        return None


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    for item in node.attribute:
        if item.name == name:
            value: object = onnx.helper.get_attribute_value(item)
            return value
    return default


def store(graph: onnx.GraphProto, wanted: str, value: Array) -> str:
    """Add an initialiser, or find an equal one of that name; returns the name it got."""
    tensor = numpy_helper.from_array(np.asarray(value, order="C"), wanted)
    taken = {t.name: t for t in graph.initializer}
    number = 0
    while tensor.name in taken:
        if taken[tensor.name].SerializeToString() == tensor.SerializeToString():
            return str(tensor.name)
        number += 1
        tensor.name = f"{wanted}_{number}"
    graph.initializer.append(tensor)
    return str(tensor.name)


def insert_before(graph: onnx.GraphProto, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
    """Place nodes in front of another; the graph stays sorted by data flow."""
    at = next(i for i, other in enumerate(graph.node) if other.name == node.name)
    for item in reversed(new):
        graph.node.insert(at, item)


def replace_reads(graph: onnx.GraphProto, old: str, new: str, keep: frozenset[str] = frozenset()) -> None:
    """Let every node but those named in `keep` read `new` where it read `old`."""
    for node in graph.node:
        if node.name not in keep:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new


def sort(graph: onnx.GraphProto) -> None:
    """Put the nodes into an order in which every tensor is written before it is read."""
    ready = {t.name for t in graph.initializer} | {value.name for value in graph.input} | {""}
    waiting = [*graph.node]
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in node.input):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        assert len(later) < len(waiting), "the graph has a ring"
        waiting = later
    copies = []
    for node in ordered:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def sweep(model: onnx.ModelProto) -> None:
    """Remove nodes whose result nobody reads, then unread initialisers and shape notes."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        dead = [node for node in graph.node if not any(name in read for name in node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    written = {name for node in graph.node for name in node.output}
    for value in [v for v in graph.value_info if v.name not in written]:
        graph.value_info.remove(value)
