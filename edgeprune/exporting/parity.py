"""Whether a lowering kept every code: the activations' integers of two files, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgeprune.exporting.pairs import activation_quantizers, zero_point_of
from edgeprune.exporting.session import open_session
from edgeprune.exporting.wiring import Wiring

CAPPED = "_capped"
"""Behind a Q's output in the lowered file: its codes after saturating where the signed ones do."""
BATCH = 16


@dataclass(frozen=True)
class Codes:
    """`compared` codes of `tensors` tensors: `differing` of them are not the same, `saturated` are the largest."""

    tensors: int
    compared: int
    differing: int
    saturated: int


def compare_codes(
    original: onnx.ModelProto, lowered: onnx.ModelProto, x: NDArray[np.float32], kernels: bool = False
) -> Codes:
    """Run both node by node in float on images `[n, ...]`, and compare what has one name in both.

    `kernels`: the lowered one in the runtime's integer kernels instead. Their sums are exact where floats round,
    so that a value half-way between two codes may become either, and what follows from it another.
    """
    zeros = [_zeros(model) for model in (original, lowered)]
    names = [name for name in zeros[0] if name in zeros[1]]
    written = {name for node in lowered.graph.node for name in node.output}
    lowered_names = [name + CAPPED if name + CAPPED in written else name for name in names]
    sessions = [_tapped(original, names), _tapped(lowered, lowered_names, kernels)]
    differing = compared = saturated = 0
    for start in range(0, len(x), BATCH):
        feed = {original.graph.input[0].name: x[start : start + BATCH]}
        wanted, got = sessions[0].run(names, feed), sessions[1].run(lowered_names, feed)
        for name, a, b in zip(names, wanted, got, strict=True):
            one, other = a.astype(np.int32) - zeros[0][name], b.astype(np.int32) - zeros[1][name]
            differing += int(np.count_nonzero(one != other))
            compared += one.size
            saturated += int(np.count_nonzero(one == one.dtype.type(np.iinfo(a.dtype).max) - zeros[0][name]))
    return Codes(len(names), compared, differing, saturated)


def _zeros(model: onnx.ModelProto) -> dict[str, int]:
    """The zero point of each activation's Q, by the name of its codes."""
    wiring = Wiring(model)
    found = {}
    for node in activation_quantizers(wiring):
        zero = zero_point_of(wiring, node)
        found[str(node.output[0])] = 0 if zero is None else int(zero.item())
    return found


def _tapped(model: onnx.ModelProto, names: list[str], kernels: bool = False) -> ort.InferenceSession:
    """A session that runs a model as written, or in integer kernels, with these tensors among its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = ort.SessionOptions()
    if not kernels:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return open_session(copy, options, exact=kernels)
