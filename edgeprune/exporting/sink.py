"""DequantizeLinear moved down, behind operators that only move values: those then run on codes."""

from __future__ import annotations

import onnx

from edgeprune.exporting.movers import moves
from edgeprune.exporting.pairs import DQ, activation_quantizers, dequantized, same_codes
from edgeprune.exporting.wiring import Wiring, attribute, replace_reads


def sink_dequantizers(model: onnx.ModelProto) -> None:
    """Write DQ -> move as move -> DQ, and drop a DQ -> Q between equal codes."""
    wiring = Wiring(model)
    graph = model.graph
    for node in [*graph.node]:
        source = dequantized(wiring, node.input[0]) if node.input and moves(wiring, node) else None
        if source is None:
            continue
        node.input[0] = source.input[0]
        if node.op_type == "Pad" and attribute(node, "mode", b"constant") == b"constant":
            rest = [*node.input[3:]]
            del node.input[2:]
            node.input.extend([source.input[2], *rest])  # zero's code
        at = [n.name for n in graph.node].index(node.name)
        for i, name in enumerate(node.output):
            codes = f"{name}_codes"
            node.output[i] = codes
            new = onnx.helper.make_node(DQ, [codes, *source.input[1:3]], [name], name=f"{name}_dequantized")
            graph.node.insert(at + 1, new)
            wiring.writer[name] = new
    _drop_round_trips(model)


def _drop_round_trips(model: onnx.ModelProto) -> None:
    wiring = Wiring(model)
    for quantizer in activation_quantizers(wiring):
        source = dequantized(wiring, quantizer.input[0])
        if source is not None and same_codes(wiring, source, quantizer):
            replace_reads(model.graph, quantizer.output[0], source.input[0])
