"""Bundle: the folder that the two halves meet in.

manifest.json     what it is, with the sha256 of every other file
manifest.sha256   the manifest's own
model.onnx        the truth; a TensorRT plan is a cache that the device builds from it
golden.npz        a few inputs (`input`, after preprocessing) and the outputs expected for them (`output`)
labels.txt        one class name per line
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgeprune.errors import EdgepruneError
from edgeprune.spec.layer_costs import LayerShape
from edgeprune.spec.strict import Strict, read_json

MANIFEST, MANIFEST_SUM = "manifest.json", "manifest.sha256"
MODEL, GOLDEN, LABELS = "model.onnx", "golden.npz", "labels.txt"


class FileSum(Strict):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Tensor(Strict):
    """A graph input or output; the first axis is the batch and dynamic."""

    name: str
    shape: tuple[int, ...]
    """Without the batch axis."""
    dtype: Literal["float32"] = "float32"


class Preprocessing(Strict):
    """From an image file to the input tensor: resize, centre crop, scale to 0..1, normalise, channels first."""

    channels: Literal["RGB", "L", "any"]
    """`any`: the data were arrays with another number of channels than 1 or 3."""
    resize_shorter_to: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class GoldenCheck(Strict):
    """How close a runtime must come: ||y - expected||_2 <= tolerance * ||expected||_2 for each golden input."""

    count: int
    tolerance: float = Field(gt=0)


class Manifest(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str
    created: str
    edgeprune_version: str
    target: str
    runtime: Literal["onnxruntime", "tensorrt"]
    precision: Literal["int8", "fp32"]
    lowering: str
    """Which dialect of Q/DQ the ONNX file speaks: `onnxruntime`, `tensorrt` or `float`."""
    weight_bits: int
    input: Tensor
    output: Tensor
    preprocessing: Preprocessing
    golden: GoldenCheck
    macs: int
    """Multiply-adds of convolutions and linear layers for one image."""
    params: int
    int8_macs_share: float | None
    """Share of `macs` that the runtime really ran in INT8 on the host; None where it was not at hand."""
    int8_macs_measured_with: str | None
    accuracy: float | None
    accuracy_se: float | None
    pattern: str = "channel"
    """In which form weights were pruned (`spec.pattern`)."""
    dense_layers: dict[str, str] = Field(default_factory=dict)
    """With a mask pattern: the weights that it did not touch, and why."""
    recipe: dict[str, Any]
    files: dict[str, FileSum]
    layers: tuple[LayerShape, ...] = ()
    """Those whose time a device can measure by their shape."""
    predicted_latency_ms: float | None = None
    predicted_from: str | None = None
    """What a budget in milliseconds counted on, and by what."""


def file_sum(path: Path) -> FileSum:
    """Return size and sha256 of a file."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            hasher.update(chunk)
    return FileSum(sha256=hasher.hexdigest(), bytes=path.stat().st_size)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte was checked against its sums."""

    path: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def golden(self) -> Path:
        return self.path / GOLDEN

    @property
    def labels(self) -> list[str]:
        return (self.path / LABELS).read_text(encoding="utf-8").splitlines()

    @property
    def digest(self) -> str:
        """sha256 of the manifest, and through it of every file."""
        return file_sum(self.path / MANIFEST).sha256


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its sum into a folder that already holds the other files."""
    text = manifest.model_dump_json(by_alias=True, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    total = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST_SUM).write_text(f"{total}  {MANIFEST}\n", encoding="utf-8")


def open_bundle(path: Path) -> Bundle:
    """Open a bundle, checking every byte.

    Raises:
        EdgepruneError: no bundle there, a file missing, or a file that differs from its sha256.
    """
    if not (path / MANIFEST).is_file():
        raise EdgepruneError(f"{path}: no bundle here ({MANIFEST} is missing). Give a RUN/bundle folder.")
    try:
        expected = (path / MANIFEST_SUM).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        expected = []
    if not expected or expected[0] != file_sum(path / MANIFEST).sha256:
        raise _damaged(path, MANIFEST)
    manifest = read_json(Manifest, path / MANIFEST)
    for name in (MODEL, GOLDEN, LABELS):
        if name not in manifest.files:
            raise EdgepruneError(f"{path}: {MANIFEST} does not list {name}. Export the bundle again.")
    for name, expected_sum in manifest.files.items():
        inside = Path(name).name == name
        if not inside or not (path / name).is_file() or file_sum(path / name) != expected_sum:
            raise _damaged(path, name)
    return Bundle(path, manifest)


def _damaged(path: Path, name: str) -> EdgepruneError:
    return EdgepruneError(f"{path}: {name} does not match its sha256. Copy or export the bundle again.")
