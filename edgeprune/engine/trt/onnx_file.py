"""ONNX files read and written by protobuf alone: a device does not need the onnx package.

Only the fields that are used here are described; protobuf carries all others through unchanged. Numbers and types are
those of onnx.proto, whose fields know whether they were set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16 = 1, 2, 3, 6, 7, 9, 10
DTYPES: dict[int, Any] = {
    FLOAT: np.float32, UINT8: np.uint8, INT8: np.int8, INT32: np.int32, INT64: np.int64, BOOL: np.bool_,
    FLOAT16: np.float16, 11: np.float64,
}  # fmt: skip
"""TensorProto.DataType -> numpy's."""
ONE, MANY = 1, 3
"""FieldDescriptorProto.Label."""
KINDS = {"f": 2, "i": 3, "int": 5, "text": 9, "bytes": 12, "u": 4}
"""Scalar types: FieldDescriptorProto.Type."""
MESSAGES: dict[str, Sequence[tuple[str, int, int, str]]] = {
    "OperatorSet": [("domain", 1, ONE, "text"), ("version", 2, ONE, "i")],
    "Tensor": [
        ("dims", 1, MANY, "i"), ("data_type", 2, ONE, "int"), ("float_data", 4, MANY, "f"),
        ("int32_data", 5, MANY, "int"), ("int64_data", 7, MANY, "i"), ("name", 8, ONE, "text"),
        ("raw_data", 9, ONE, "bytes"), ("data_location", 14, ONE, "int"),
    ],
    "Dimension": [("dim_value", 1, ONE, "i"), ("dim_param", 2, ONE, "text")],
    "Shape": [("dim", 1, MANY, "Dimension")],
    "TensorType": [("elem_type", 1, ONE, "int"), ("shape", 2, ONE, "Shape")],
    "Type": [("tensor_type", 1, ONE, "TensorType")],
    "Value": [("name", 1, ONE, "text"), ("type", 2, ONE, "Type")],
    "Attribute": [
        ("name", 1, ONE, "text"), ("f", 2, ONE, "f"), ("i", 3, ONE, "i"), ("s", 4, ONE, "bytes"),
        ("t", 5, ONE, "Tensor"), ("floats", 7, MANY, "f"), ("ints", 8, MANY, "i"), ("type", 20, ONE, "int"),
    ],
    "Node": [
        ("input", 1, MANY, "text"), ("output", 2, MANY, "text"), ("name", 3, ONE, "text"), ("op_type", 4, ONE, "text"),
        ("attribute", 5, MANY, "Attribute"), ("domain", 7, ONE, "text"),
    ],
    "Graph": [
        ("node", 1, MANY, "Node"), ("name", 2, ONE, "text"), ("initializer", 5, MANY, "Tensor"),
        ("input", 11, MANY, "Value"), ("output", 12, MANY, "Value"), ("value_info", 13, MANY, "Value"),
    ],
    "Model": [("ir_version", 1, ONE, "i"), ("graph", 7, ONE, "Graph"), ("opset_import", 8, MANY, "OperatorSet")],
}  # fmt: skip
PACKAGE = "edgeprune.onnx"


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="edgeprune/onnx.proto", package=PACKAGE, syntax="proto2")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, label, kind in fields:
            added = described.field.add(name=name, number=number, label=label, type=KINDS.get(kind, 11))
            if kind not in KINDS:
                added.type_name = f".{PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


CLASSES = _classes()
ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS = 1, 2, 7


def read_model(path: Path) -> Any:
    """Read a file.

    Raises:
        EdgepruneError: it is no ONNX file, or its weights are in another.
    """
    model = CLASSES["Model"]()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise EdgepruneError(f"{path}: not an ONNX file ({error}). Export the bundle again.") from None
    if any(tensor.data_location for tensor in model.graph.initializer):
        raise EdgepruneError(f"{path}: its weights are in a file of their own. Export the bundle again.")
    return model


def opset_of(model: Any) -> int:
    """Of ONNX's own operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def set_opset(model: Any, version: int) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version


def fix_batch(model: Any, images: int) -> None:
    """Give every input a number of images where it leaves that open."""
    for value in model.graph.input:
        first = next(iter(value.type.tensor_type.shape.dim), None)
        if first is not None and not first.dim_value:
            first.ClearField("dim_param")
            first.dim_value = images


def array_of(tensor: Any) -> NDArray[Any]:
    """A stored tensor's values, in its shape."""
    kind = DTYPES[tensor.data_type]
    if tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, dtype=np.dtype(kind).newbyteorder("<")).astype(kind)
    elif tensor.data_type == FLOAT16:  # its bits, one in each int32
        values = np.array(tensor.int32_data, np.uint16).view(np.float16)
    else:
        values = np.array(tensor.float_data or tensor.int64_data or tensor.int32_data, kind)
    return values.reshape(tuple(tensor.dims))


def store(tensor: Any, array: NDArray[Any]) -> None:
    """Replace a tensor's values, type and shape; the name stays."""
    for name in ("dims", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(name)
    tensor.dims.extend(array.shape)
    tensor.data_type = next(code for code, kind in DTYPES.items() if np.dtype(kind) == array.dtype)
    tensor.raw_data = np.ascontiguousarray(array).tobytes()


def new_tensor(name: str, array: NDArray[Any]) -> Any:
    tensor = CLASSES["Tensor"](name=name)
    store(tensor, array)
    return tensor


def new_node(op: str, inputs: Iterable[str], outputs: Iterable[str], name: str, **ints: int) -> Any:
    """An operator whose attributes are whole numbers."""
    node = CLASSES["Node"](op_type=op, name=name, input=list(inputs), output=list(outputs))
    for key, value in ints.items():
        node.attribute.add(name=key, i=value, type=ATTRIBUTE_INT)
    return node


def attribute(node: Any, name: str) -> Any:
    """An attribute's message; None where the node does not have it."""
    return next((entry for entry in node.attribute if entry.name == name), None)


def ints_of(node: Any, name: str, default: Sequence[int]) -> list[int]:
    found = attribute(node, name)
    return list(default) if found is None else list(found.ints)


def int_of(node: Any, name: str, default: int) -> int:
    found = attribute(node, name)
    return default if found is None else int(found.i)


def drop_attribute(node: Any, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    node.ClearField("attribute")
    node.attribute.extend(kept)


def replace_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    """Give a graph other nodes, in order."""
    copies = []
    for node in nodes:  # they may belong to the list that is cleared
        copy = CLASSES["Node"]()
        copy.CopyFrom(node)
        copies.append(copy)
    graph.ClearField("node")
    graph.node.extend(copies)
