"""ONNX files of a single layer, written without the onnx package, which the device half does not have.

A protocol buffer is a list of fields: a tag (number << 3 | wire type), then a varint (type 0), or a length and bytes
(type 2). Field numbers are those of onnx.proto3 (ONNX, IR version 8); `tests/engine/test_onnx_wire.py` reads every
file back with the onnx package and checks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 18
TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3}
INT, INTS = 2, 7
"""AttributeProto's types."""


@dataclass(frozen=True)
class Node:
    op: str
    inputs: Sequence[str]
    output: str
    name: str = ""
    attributes: Mapping[str, int | Sequence[int]] = field(default_factory=dict)


def model_bytes(
    nodes: Iterable[Node],
    weights: Mapping[str, NDArray[np.generic]],
    x: tuple[str, Sequence[int]],
    y: tuple[str, Sequence[int]],
) -> bytes:
    """A model from float `x` to float `y`, each a name and a shape without the batch axis, which is free."""
    graph = b"".join(_sub(1, _node(node)) for node in nodes)
    graph += _sub(2, b"layer")
    graph += b"".join(_sub(5, _tensor(name, array)) for name, array in weights.items())
    graph += _sub(11, _value(*x)) + _sub(12, _value(*y))
    opset = _sub(1, b"") + _int(2, OPSET)
    return _int(1, IR_VERSION) + _sub(7, graph) + _sub(8, opset)


def _node(node: Node) -> bytes:
    found = b"".join(_sub(1, name.encode()) for name in node.inputs)
    found += _sub(2, node.output.encode()) + _sub(3, (node.name or node.output).encode()) + _sub(4, node.op.encode())
    return found + b"".join(_sub(5, _attribute(name, value)) for name, value in node.attributes.items())


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _sub(1, name.encode()) + _int(3, value) + _int(20, INT)
    return _sub(1, name.encode()) + b"".join(_int(8, each) for each in value) + _int(20, INTS)


def _tensor(name: str, array: NDArray[np.generic]) -> bytes:
    found = b"".join(_int(1, length) for length in array.shape) + _int(2, TYPES[array.dtype])
    return found + _sub(8, name.encode()) + _sub(9, np.ascontiguousarray(array).tobytes())


def _value(name: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto of floats whose first axis is called `n`."""
    axes = _sub(1, _sub(2, b"n")) + b"".join(_sub(1, _int(1, length)) for length in shape)
    tensor = _int(1, TYPES[np.dtype(np.float32)]) + _sub(2, axes)
    return _sub(1, name.encode()) + _sub(2, _sub(1, tensor))


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _sub(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    assert value >= 0
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
