"""open_bundle lets nothing through whose bytes it did not check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import GOLDEN, LABELS, MODEL, Manifest, file_sum, open_bundle, write_manifest

FILES = (MODEL, GOLDEN, LABELS)


def write(folder: Path, **fields: Any) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(f"content of {name}\n".encode())
    plain: dict[str, Any] = {
        "schema": 1,
        "name": "net",
        "created": "2026-01-01",
        "edgeprune_version": "0.1.0",
        "target": "cpu-arm64",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "lowering": "float",
        "weight_bits": 8,
        "input": {"name": "x", "shape": (1, 8, 8)},
        "output": {"name": "y", "shape": (10,)},
        "preprocessing": {"channels": "L", "resize_shorter_to": 8, "crop": 8, "mean": (0,), "std": (1,)},
        "golden": {"count": 1, "tolerance": 0.1},
        "macs": 1,
        "params": 1,
        "int8_macs_share": None,
        "int8_macs_measured_with": None,
        "accuracy": None,
        "accuracy_se": None,
        "recipe": {},
        "files": {name: file_sum(folder / name).model_dump() for name in FILES},
    }
    write_manifest(folder, Manifest.model_validate(plain | fields))
    return folder


def test_a_sound_bundle_opens(tmp_path):
    bundle = open_bundle(write(tmp_path / "b"))
    assert bundle.manifest.name == "net"
    assert bundle.labels == ["content of labels.txt"]
    assert bundle.digest == file_sum(tmp_path / "b/manifest.json").sha256


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("place", [0, 5, -2])
def test_a_changed_byte_is_named(tmp_path, name, place):
    folder = write(tmp_path / "b")
    content = bytearray((folder / name).read_bytes())
    if name == "manifest.sha256" and place < 0:
        place = 60  # the sum itself; the file name behind it decides nothing
    content[place] ^= 1
    (folder / name).write_bytes(content)
    shown = "manifest.json" if name.startswith("manifest") else name
    with pytest.raises(EdgepruneError, match=f"{shown} does not match its sha256"):
        open_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.sha256"])
def test_a_missing_file_is_refused(tmp_path, name):
    folder = write(tmp_path / "b")
    (folder / name).unlink()
    with pytest.raises(EdgepruneError, match="sha256"):
        open_bundle(folder)


def test_no_bundle_there(tmp_path):
    with pytest.raises(EdgepruneError, match="no bundle here"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("left_out", FILES)
def test_every_file_that_is_used_must_be_summed(tmp_path, left_out):
    folder = write(tmp_path / "b")
    sums = {name: file_sum(folder / name).model_dump() for name in FILES if name != left_out}
    other = write(tmp_path / "c", files=sums)
    with pytest.raises(EdgepruneError, match=f"does not list {left_out}"):
        open_bundle(other)


def test_a_manifest_cannot_point_outside(tmp_path):
    folder = write(tmp_path / "b")
    sums = {name: file_sum(folder / name).model_dump() for name in FILES}
    (tmp_path / "secret").write_text("x")
    sums["../secret"] = file_sum(tmp_path / "secret").model_dump()
    with pytest.raises(EdgepruneError, match="sha256"):
        open_bundle(write(tmp_path / "c", files=sums))
