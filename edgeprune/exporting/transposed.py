"""Weights of linear layers over a sequence, stored `[in, out]` as MatMul reads them, under their own names.

torch keeps such a weight as `[out, in]` and transposes it in the graph. Stored the other way round it stands behind
its DequantizeLinear alone, as the INT8 kernels' selectors look for it, and who reads the file finds it by its name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edgeprune.exporting.pairs import DQ
from edgeprune.exporting.wiring import Array, Wiring, attribute, replace_reads, store


def transpose_codes(model: onnx.ModelProto) -> None:
    """Replace codes -> DequantizeLinear -> Transpose by transposed codes -> DequantizeLinear, where MatMul reads it."""
    wiring = Wiring(model)
    for node in [n for n in model.graph.node if n.op_type == "Transpose"]:
        writer = wiring.writer.get(node.input[0])
        if writer is None or writer.op_type != DQ or attribute(node, "perm") not in (None, [1, 0]):
            continue
        codes = wiring.constant(writer.input[0])
        readers = wiring.readers.get(node.output[0], [])
        if codes is None or codes.ndim != 2 or any(reader.op_type != "MatMul" for reader in readers):
            continue
        if not wiring.alone_reads(node, writer.output[0]) or not wiring.alone_reads(writer, writer.input[0]):
            continue
        model.graph.initializer.remove(wiring.stored[writer.input[0]])
        writer.input[0] = store(model.graph, writer.input[0], codes.T)
        axis = attribute(writer, "axis", 1)
        assert isinstance(axis, int)
        del writer.attribute[:]
        writer.attribute.append(onnx.helper.make_attribute("axis", 1 - axis % 2))
        writer.output[0] = node.output[0]  # whose noted shape is the new one
        model.graph.node.remove(node)


def name_transposed(model: onnx.ModelProto, parameters: Mapping[str, Array]) -> None:
    """Give a float weight that the exporter stored transposed its parameter's name, with equal values as proof."""
    wiring = Wiring(model)
    wanted: dict[tuple[int, ...], list[str]] = {}
    for name, value in parameters.items():
        if value.ndim == 2 and name not in wiring.stored:
            wanted.setdefault(value.shape[::-1], []).append(name)
    for node in model.graph.node:
        weight = wiring.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or node.input[1] in parameters:
            continue
        found = next((n for n in wanted.get(weight.shape, []) if np.array_equal(parameters[n].T, weight)), None)
        if found is not None:
            wanted[weight.shape].remove(found)
            wiring.stored[node.input[1]].name = found
            replace_reads(model.graph, node.input[1], found)
            wiring = Wiring(model)
