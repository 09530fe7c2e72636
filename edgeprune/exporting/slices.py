"""Slices along several axes as one operator: torch writes one for each axis."""

from __future__ import annotations

import numpy as np
import onnx

from edgeprune.exporting.wiring import Array, Wiring, store


def merge_slices(model: onnx.ModelProto) -> None:
    """Let a Slice whose input is another's, which it alone reads, take over that one's axes."""
    merged = True
    while merged:
        merged = False
        wiring = Wiring(model)
        for node in model.graph.node:
            before = wiring.writer.get(node.input[0]) if node.op_type == "Slice" else None
            if before is None or before.op_type != "Slice" or not wiring.alone_reads(node, before.output[0]):
                continue
            rows = [_parameters(wiring, one) for one in (before, node)]
            if rows[0] is None or rows[1] is None or {*rows[0][2].tolist()} & {*rows[1][2].tolist()}:
                continue
            joined = [np.concatenate(pair) for pair in zip(rows[0], rows[1], strict=True)]
            names = [
                store(model.graph, f"{node.name or node.output[0]}_{word}", values)
                for word, values in zip(("starts", "ends", "axes", "steps"), joined, strict=True)
            ]
            node.input[:] = [before.input[0], *names]
            model.graph.node.remove(before)
            merged = True
            break


def _parameters(wiring: Wiring, node: onnx.NodeProto) -> tuple[Array, Array, Array, Array] | None:
    """Starts, ends, axes and steps, where they are constant and the axes are counted from the front."""
    if len(node.input) < 4:
        return None
    found = [wiring.constant(name) for name in node.input[1:]]
    if len(found) == 3:
        found.append(np.ones_like(found[0]))
    if any(one is None for one in found) or np.any(np.asarray(found[2]) < 0):
        return None
    starts, ends, axes, steps = (np.asarray(one, np.int64) for one in found)
    return starts, ends, axes, steps
