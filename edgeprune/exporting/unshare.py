"""One copy of a weight per layer that reads it."""

from __future__ import annotations

import onnx

from edgeprune.exporting.pairs import DQ
from edgeprune.exporting.wiring import Wiring, insert_before, store


def copy_shared_weights(model: onnx.ModelProto) -> None:
    """Give each reader of a quantized weight its own; ONNX Runtime 1.31's exact mode fails on a shared one."""
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type == DQ]:
        codes, zero_point = wiring.constant(node.input[0]), wiring.constant(node.input[2])
        if codes is None or zero_point is None:
            continue
        for number, reader in enumerate(wiring.readers.get(node.output[0], [])[1:], start=1):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = copy.output[0] = f"{node.output[0]}_copy{number}"
            copy.input[0] = store(model.graph, f"{node.input[0]}_copy{number}", codes)
            copy.input[2] = store(model.graph, f"{node.input[2]}_copy{number}", zero_point)
            insert_before(model.graph, reader, copy)
            for i, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[i] = copy.output[0]
