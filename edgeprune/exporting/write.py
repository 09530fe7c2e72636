"""The bundle, written whole or not at all."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

import edgeprune
from edgeprune.exporting.aliases import with_aliases
from edgeprune.exporting.check import infer
from edgeprune.spec.bundle import (
    GOLDEN,
    LABELS,
    MODEL,
    Bundle,
    GoldenCheck,
    Manifest,
    Preprocessing,
    Tensor,
    file_sum,
    open_bundle,
    write_manifest,
)
from edgeprune.spec.layer_costs import LayerShape
from edgeprune.spec.whole import whole_or_nothing

TOLERANCE = {"int8": 0.1, "fp32": 0.01}
"""Of golden outputs, relative L2. INT8: another CPU's kernels may round some codes the other way, while sums that
saturate miss by more. fp32: a GPU may multiply in TF32."""


@dataclass(frozen=True)
class Details:
    """What a manifest says beyond what the model itself does; the words are `spec.bundle.Manifest`'s."""

    name: str
    target: str
    runtime: Literal["onnxruntime", "tensorrt"]
    precision: Literal["int8", "fp32"]
    lowering: str
    weight_bits: int
    preprocessing: Preprocessing
    labels: Sequence[str]
    macs: int
    params: int
    int8_macs_share: float | None
    int8_macs_measured_with: str | None
    accuracy: float | None
    accuracy_se: float | None
    recipe: dict[str, Any]
    pattern: str = "channel"
    dense_layers: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerShape, ...] = ()
    predicted_latency_ms: float | None = None
    predicted_from: str | None = None


def write_bundle(folder: Path, model: onnx.ModelProto, details: Details, golden: NDArray[np.float32]) -> Bundle:
    """Write a bundle and read it back; one that stood there is replaced.

    `golden` holds inputs after preprocessing. Their outputs are computed here with ONNX Runtime on the CPU with
    integer sums that do not saturate; a graph for TensorRT it simulates in float.

    Raises:
        EdgepruneError: the disk is full, or the folder cannot be written.
    """
    golden = np.ascontiguousarray(golden, dtype=np.float32)
    expected = infer(model, golden, exact=True)
    with whole_or_nothing(folder) as temporary:
        (temporary / MODEL).write_bytes(model.SerializeToString())
        with (temporary / GOLDEN).open("wb") as stream:
            np.savez(stream, input=golden, output=expected)
        labels = "".join(f"{label}\n" for label in details.labels)
        (temporary / LABELS).write_text(labels, encoding="utf-8")
        files = {name: file_sum(temporary / name) for name in (MODEL, GOLDEN, LABELS)}
        write_manifest(temporary, _manifest(model, details, golden, expected, files))
    return open_bundle(folder)


def _manifest(
    model: onnx.ModelProto,
    details: Details,
    golden: NDArray[np.float32],
    expected: NDArray[np.float32],
    files: dict[str, Any],
) -> Manifest:
    fields = {key: value for key, value in vars(details).items() if key not in {"labels", "layers"}}
    return Manifest(
        **fields,
        layers=with_aliases(details.layers, model),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgeprune_version=edgeprune.__version__,
        input=Tensor(name=model.graph.input[0].name, shape=golden.shape[1:]),
        output=Tensor(name=model.graph.output[0].name, shape=expected.shape[1:]),
        golden=GoldenCheck(count=len(golden), tolerance=TOLERANCE[details.precision]),
        files=files,
    )
