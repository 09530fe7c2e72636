"""Reading any ONNX file, and saying which of its layers a target's runtime runs in INT8."""

from __future__ import annotations

import platform
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.lint import lint_tensorrt
from edgeprune.exporting.macs import FLOAT, INT8, count_macs, run_once
from edgeprune.exporting.pairs import DQ, Q
from edgeprune.exporting.wiring import Array, Wiring
from edgeprune.linting import onnxruntime, tensorrt
from edgeprune.spec.lint import Lint, Verdict
from edgeprune.spec.target import Target

MARK = re.compile(r"lint_(\d{5})_")
WEIGHT_INPUT = {**INT8, **FLOAT}
PLAIN = {"Reshape", "Transpose", "Shape", "Gather", "Concat", "Slice", "Flatten", "Unsqueeze", "Squeeze", "Identity"}
"""What moves values, and is not named among the operators in float."""


def lint(path: Path, target: Target, shape: tuple[int, ...] | None = None) -> Lint:
    """Judge every layer of a file, whoever wrote it.

    Args:
        path: an ONNX file.
        target: whose runtime is asked about.
        shape: of the input with its batch axis, where the file leaves more than the batch open.

    Raises:
        EdgepruneError: no ONNX file, or one whose input needs a shape.
    """
    model = _read(path)
    wiring = Wiring(model)
    layers = {
        number: node
        for number, node in enumerate(model.graph.node)
        if node.op_type in WEIGHT_INPUT and len(node.input) > WEIGHT_INPUT[node.op_type]
    }
    if not layers:
        raise EdgepruneError(f"{path}: holds no convolution, linear layer or matrix product. Give the network itself.")
    seen = _run(model, layers, _feeds(model, path, shape), made=_at_hand(target))
    rules: Any = onnxruntime if target.runtime == "onnxruntime" else tensorrt
    verdicts = []
    for number, node in layers.items():
        macs = None if seen.macs is None else seen.macs.get(number, 0)
        if macs == 0:  # a product within the computation of a shape
            continue
        why = rules.why_float(wiring, node)
        inside = seen.int8.get(number, not why) if seen.int8 is not None else not why
        if not inside and not why:
            why = f"ONNX Runtime {ort.__version__} leaves it in float, for no reason that these rules know"
        name = node.name or node.output[0]
        verdicts.append(Verdict(name, node.op_type, macs, inside, "" if inside else why, rules.mendable(node)))
    faults, notes = _file(model, wiring, target)
    return Lint(
        str(path),
        target.name,
        target.runtime,
        _source(target, seen),
        tuple(verdicts),
        tuple(faults),
        (*notes, *seen.notes, *([f"not run: {seen.failure}"] if seen.failure else [])),
    )


@dataclass(frozen=True)
class _Seen:
    """What a run showed, by the layer's number; None where it did not run, or not as the target's runtime."""

    macs: Mapping[int, int] | None
    int8: Mapping[int, bool] | None
    notes: tuple[str, ...] = ()
    failure: str = ""


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise EdgepruneError(f"{path}: no such file. Give an ONNX file.") from None
    except Exception as error:  # protobuf's own kinds, and those of files beside it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EdgepruneError(f"{path}: no readable ONNX file ({reason}). Export it again.") from None
    if not model.graph.node:
        raise EdgepruneError(f"{path}: no readable ONNX file (it holds no operator). Export it again.")
    return model


def _at_hand(target: Target) -> bool:
    """Whether the ONNX Runtime of this machine makes the graph that the target's would."""
    same = target.architecture is None or target.architecture.value == platform.machine()
    return target.runtime == "onnxruntime" and same


def _source(target: Target, seen: _Seen) -> str:
    if seen.int8 is not None:
        return f"the graph that ONNX Runtime {ort.__version__} made of it here"
    return f"the documented rules of {'TensorRT' if target.runtime == 'tensorrt' else 'ONNX Runtime'}"


def _feeds(model: onnx.ModelProto, path: Path, shape: tuple[int, ...] | None) -> dict[str, Array]:
    """One image of zeros for each input."""
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, Array] = {}
    for value in [v for v in model.graph.input if v.name not in stored]:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        sides = [int(d.dim_value) if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
        if shape is not None and len(shape) == len(sides):
            sides = [*shape]
        if sides and sides[0] < 1:
            sides[0] = 1
        if min(sides, default=1) < 1:
            raise EdgepruneError(f"{path}: the size of input {value.name} is open. Say it, as --shape 1x3x224x224.")
        feeds[value.name] = np.zeros(sides, kind)
    return feeds


def _run(model: onnx.ModelProto, layers: Mapping[int, onnx.NodeProto], feeds: dict[str, Array], made: bool) -> _Seen:
    """Run a copy in which every layer has a name of its own, as written and, with `made`, as optimised."""
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    for number, node in enumerate(marked.graph.node):
        node.name = f"lint_{number:05}_" if number in layers else f"other_{number:05}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "marked.onnx"
        try:
            onnx.save(marked, path)
            macs = {_number(node): count for node, count in count_macs(*run_once(path, lambda _: feeds, False))}
            if not made:
                return _Seen(macs, None)
            graph, _ = run_once(path, lambda _: feeds, True)
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            reason = " ".join(str(error).split())[:200]
            return _Seen(None, None, failure=f"ONNX Runtime {ort.__version__} does not take the file ({reason})")
    int8: dict[int, bool] = {}
    for node in graph.graph.node:
        found = MARK.search(node.name)
        if found and node.op_type in WEIGHT_INPUT:
            int8[int(found[1])] = node.op_type in INT8
    return _Seen(macs, int8, _left(graph))


def _number(node: onnx.NodeProto) -> int:
    found = MARK.search(node.name)
    return int(found[1]) if found else -1


def _left(graph: onnx.ModelProto) -> tuple[str, ...]:
    """What runs between the layers in float, or turns codes into floats and back."""
    counted = Counter(node.op_type for node in graph.graph.node)
    conversions = {kind: counted.pop(kind) for kind in (Q, DQ) if counted[kind]}
    layers = {*INT8, *FLOAT}
    floats = {
        kind: count for kind, count in counted.items() if kind not in layers | PLAIN and not kind.startswith("QLinear")
    }
    notes = []
    if conversions:
        notes.append("conversions left: " + ", ".join(f"{count} {kind}" for kind, count in conversions.items()))
    if floats:
        largest = sorted(floats.items(), key=lambda pair: -pair[1])
        notes.append("between the layers: " + ", ".join(f"{count} {kind}" for kind, count in largest))
    return tuple(notes)


def _file(model: onnx.ModelProto, wiring: Wiring, target: Target) -> tuple[list[str], list[str]]:
    """Faults and notes that are no single layer's choice between INT8 and float."""
    if target.runtime == "tensorrt":
        faults = lint_tensorrt(model, 1, target.opset.value)
        narrow = lint_tensorrt(model, target.channel_multiple.value, target.opset.value)
        return faults, [*(line for line in narrow if line not in faults), *tensorrt.notes(wiring)]
    if target.weight_bits.value == 8:
        return [], []
    faults = []
    for node in model.graph.node:
        share = onnxruntime.saturating(wiring, node) if node.op_type in WEIGHT_INPUT else 0.0
        if share:
            faults.append(
                f"{node.name or node.output[0]}: {100 * share:.2g} % of the pairs of weights may overflow 16-bit sums "
                "(no VNNI); 7-bit weights do not"
            )
    return faults, []
