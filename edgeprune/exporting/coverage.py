"""How many multiply-adds ONNX Runtime runs in INT8, read from the graph that it made of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.exporting.macs import INT8, macs_per_node


@dataclass(frozen=True)
class Int8Share:
    """Multiply-adds of layers and of products of activations for one image, and which of these ran in float."""

    share: float
    int8_macs: int
    total_macs: int
    float_nodes: tuple[str, ...]


def int8_share(model_path: Path, input_shape: tuple[int, ...]) -> Int8Share:
    """Let ONNX Runtime optimise and run the model once on this machine, and count.

    `input_shape` is without the batch axis. The total comes from the file as it is written: float kernels pad
    channels to the width of a vector, and would count the padding.
    """
    written = macs_per_node(model_path, input_shape, optimise=False)
    made = macs_per_node(model_path, input_shape, optimise=True)
    total_macs = sum(macs for _, macs in written)
    int8_macs = sum(macs for node, macs in made if node.op_type in INT8)
    float_nodes = tuple(node.name for node, _ in made if node.op_type not in INT8)
    return Int8Share(int8_macs / max(total_macs, 1), int8_macs, total_macs, float_nodes)
