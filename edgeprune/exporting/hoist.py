"""Quantizers moved up, to where an integer kernel writes.

ONNX Runtime fuses Conv only with the Q right behind it. Where values are moved first (Conv -> MaxPool -> Q,
Conv -> Concat -> Q), quantizing before the move gives the same codes.
"""

from __future__ import annotations

import onnx

from edgeprune.exporting.movers import moves
from edgeprune.exporting.pairs import activation_quantizers, dequantized, pair
from edgeprune.exporting.wiring import Wiring, insert_before


def hoist_quantizers(model: onnx.ModelProto) -> None:
    while _hoist_one(model):
        pass


def _hoist_one(model: onnx.ModelProto) -> bool:
    wiring = Wiring(model)
    for quantizer in activation_quantizers(wiring):
        mover = wiring.writer.get(quantizer.input[0])
        if mover is None or not wiring.alone_reads(quantizer, mover.output[0]):
            continue
        if mover.op_type == "Concat":
            positions = [*range(len(mover.input))]
        elif moves(wiring, mover) and len(mover.output) == 1:
            positions = [0]
        else:
            continue
        floats = [
            i
            for i in positions
            if wiring.alone_reads(mover, mover.input[i])
            and mover.input[i] in wiring.writer
            and dequantized(wiring, mover.input[i]) is None
        ]
        for i in floats:
            source = mover.input[i]
            new = pair(source, quantizer, f"{source}_hoisted")
            insert_before(model.graph, mover, *new)
            mover.input[i] = new[1].output[0]
        if floats:
            return True
    return False
