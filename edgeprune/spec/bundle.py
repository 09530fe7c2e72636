"""Bundle: the folder that the two halves meet in.

manifest.json     what it is, with the sha256 of every other file
manifest.sha256   the manifest's own
manifest.json.sig who vouches for it (`packaging.signature`); not in every bundle
model.onnx        the truth; a TensorRT plan is a cache that the device builds from it
golden.npz        a few inputs (`input`, after preprocessing) and the outputs expected for them (`output`)
labels.txt        one class name per line

The C++ loader (`packaging/templates/cpp/src/bundle.cpp`) reads the same format with the same limits: whoever changes
one changes the other. `bundle.schema.json` beside this file says the manifest as JSON Schema; a test keeps it so. A
field without which a reader would compute something else needs a new `SCHEMA`; `UPGRADES` then says what an older
manifest means in today's words.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.layer_costs import LayerShape
from edgeprune.spec.strict import Strict, json_of, parse

MANIFEST, MANIFEST_SUM = "manifest.json", "manifest.sha256"
MODEL, GOLDEN, LABELS = "model.onnx", "golden.npz", "labels.txt"
SCHEMA = 1
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a manifest of an older schema to the next one."""

MOST_MANIFEST_BYTES = 4 << 20
MOST_FILE_BYTES = 8 << 30
MOST_VALUES = 1 << 31
"""Of one tensor: what every runtime can index."""
MOST_SIDE = 1 << 15

FileName = Annotated[str, Field(pattern="^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
"""A plain name: nothing that leads to another folder, on any system."""
Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
"""What is shown or written on: no line break, and nothing that steers a terminal."""
Dim = Annotated[int, Field(ge=1, le=MOST_VALUES)]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]


class FileSum(Strict):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=MOST_FILE_BYTES)


class Tensor(Strict):
    """A graph input or output; the first axis is the batch and dynamic."""

    name: Word
    shape: tuple[Dim, ...]
    """Without the batch axis."""
    dtype: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _can_be_held(self) -> Tensor:
        if math.prod(self.shape) > MOST_VALUES:
            raise ValueError("too many values")
        return self


class Preprocessing(Strict):
    """From an image file to the input tensor: resize, centre crop, scale to 0..1, normalise, channels first.

    Bit for bit: Pillow's `convert`, its BILINEAR `resize` of the shorter side to `resize_shorter_to` (the longer side
    rounded half to even), the centre `crop`, then `(pixel / 255 - mean) / std` in float32, in this order.
    """

    channels: Literal["RGB", "L", "any"]
    """`any`: the data were arrays with another number of channels than 1 or 3."""
    resize_shorter_to: Side
    crop: Side
    mean: tuple[float, ...]
    """Per channel, of pixels in 0..1."""
    std: tuple[float, ...]


class GoldenCheck(Strict):
    """How close a runtime must come: ||y - expected||_2 <= tolerance * ||expected||_2 for each golden input."""

    count: int = Field(ge=1, le=MOST_VALUES)
    tolerance: float = Field(gt=0)


class Manifest(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    name: Word
    created: Word
    edgeprune_version: Word
    target: Word
    runtime: Literal["onnxruntime", "tensorrt"]
    precision: Literal["int8", "fp32"]
    lowering: Word
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
    files: dict[FileName, FileSum] = Field(json_schema_extra={"additionalProperties": False})
    layers: tuple[LayerShape, ...] = ()
    """Those whose time a device can measure by their shape."""
    predicted_latency_ms: float | None = None
    predicted_from: str | None = None
    """What a budget in milliseconds counted on, and by what."""

    @model_validator(mode="after")
    def _preprocessing_fits(self) -> Manifest:
        wanted = self.preprocessing
        if wanted.channels == "any":
            return self
        planes = 3 if wanted.channels == "RGB" else 1
        shape = (planes, wanted.crop, wanted.crop)
        if self.input.shape != shape or wanted.crop > wanted.resize_shorter_to:
            raise ValueError(f"preprocessing gives {shape}, and the input is {self.input.shape}")
        if len(wanted.mean) != planes or len(wanted.std) != planes or not all(std > 0 for std in wanted.std):
            raise ValueError(f"preprocessing needs {planes} means and positive standard deviations")
        return self


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
        """Class names in the order of the outputs.

        Raises:
            EdgepruneError: they are not UTF-8.
        """
        try:
            text = (self.path / LABELS).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise EdgepruneError(f"{self.path / LABELS}: not UTF-8. Export the bundle again.") from None
        return text.removesuffix("\n").split("\n") if text else []

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
        EdgepruneError: no bundle there, one of a newer format, a file missing, or a file that differs from its sha256.
    """
    if not (path / MANIFEST).is_file():
        raise EdgepruneError(f"{path}: no bundle here ({MANIFEST} is missing). Give a RUN/bundle folder.")
    manifest = parse_manifest(_checked_manifest(path), path)
    for name, expected_sum in manifest.files.items():
        if not matches(path / name, expected_sum):
            raise _damaged(path, name)
    return Bundle(path, manifest)


def parse_manifest(text: bytes, path: Path) -> Manifest:
    """Read a manifest of this version or an older one; `path` is the bundle, for the fault.

    Raises:
        EdgepruneError: it is of a newer version, does not fit, or lists too little.
    """
    where = str(path / MANIFEST)
    data = json_of(text, where)
    version = data.get("schema")
    if isinstance(version, int) and version > SCHEMA:
        raise EdgepruneError(
            f"{path}: a bundle of format {version}, and this edgeprune reads up to {SCHEMA}. pip install -U edgeprune"
        )
    if version is None:
        raise EdgepruneError(f"{where}: schema: missing. Export the bundle again.")
    while isinstance(version, int) and version in UPGRADES:
        data = UPGRADES[version](data)
        version = data.get("schema")
    manifest = parse(Manifest, data, where)
    for name in (MODEL, GOLDEN, LABELS):
        if name not in manifest.files:
            raise EdgepruneError(f"{path}: {MANIFEST} does not list {name}. Export the bundle again.")
    return manifest


def matches(path: Path, expected: FileSum) -> bool:
    """Whether a file is there and has this size and sha256; a file of another size is not read."""
    try:
        return path.is_file() and path.stat().st_size == expected.bytes and file_sum(path) == expected
    except OSError:
        return False


def _checked_manifest(path: Path) -> bytes:
    """The manifest's bytes, if they have the sum beside them."""
    try:
        if (path / MANIFEST).stat().st_size > MOST_MANIFEST_BYTES:
            raise _damaged(path, MANIFEST)
        text = (path / MANIFEST).read_bytes()
        with (path / MANIFEST_SUM).open("rb") as stream:
            expected = stream.read(64)
    except OSError:
        raise _damaged(path, MANIFEST) from None
    if expected != hashlib.sha256(text).hexdigest().encode():
        raise _damaged(path, MANIFEST)
    return text


def _damaged(path: Path, name: str) -> EdgepruneError:
    return EdgepruneError(f"{path}: {name} does not match its sha256. Copy or export the bundle again.")
