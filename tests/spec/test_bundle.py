"""open_bundle lets nothing through whose bytes it did not check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.spec import bundle
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
    opened = open_bundle(write(tmp_path / "b"))
    assert opened.manifest.name == "net"
    assert opened.labels == ["content of labels.txt"]
    assert opened.digest == file_sum(tmp_path / "b/manifest.json").sha256


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


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", ".hidden", "a\\b", "", "nul\0", "x" * 101])
def test_a_manifest_cannot_point_outside(tmp_path, name):
    folder = write(tmp_path / "b")
    (tmp_path / "secret").write_text("x")
    edit(folder, lambda data: data["files"].update({name: file_sum(tmp_path / "secret").model_dump()}))
    with pytest.raises(EdgepruneError, match="files"):
        open_bundle(folder)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as an attacker would: the sum follows."""
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    rewrite(folder, json.dumps(data).encode())


def rewrite(folder: Path, text: bytes) -> None:
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")


def test_a_newer_format_says_what_to_update(tmp_path):
    folder = write(tmp_path / "b")
    edit(folder, lambda data: data.update(schema=2, new_field={}))
    with pytest.raises(
        EdgepruneError, match=r"a bundle of format 2, and this edgeprune reads up to 1\. pip install -U"
    ):
        open_bundle(folder)


def test_an_older_format_is_read_in_todays_words(tmp_path, monkeypatch):
    folder = write(tmp_path / "b")
    edit(folder, lambda data: data.update(schema=0, title=data.pop("name")))
    with pytest.raises(EdgepruneError, match="schema"):
        open_bundle(folder)
    monkeypatch.setitem(bundle.UPGRADES, 0, lambda data: data | {"schema": 1, "name": data.pop("title")})
    assert open_bundle(folder).manifest.name == "net"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": {"name": "x", "shape": (0, 8, 8)}}, "greater than or equal to 1"),
        ({"input": {"name": "x", "shape": (1 << 20, 1 << 20)}}, "too many values"),
        (
            {"preprocessing": {"channels": "L", "resize_shorter_to": 8, "crop": 9, "mean": (0,), "std": (1,)}},
            "the input",
        ),
        (
            {"preprocessing": {"channels": "L", "resize_shorter_to": 8, "crop": 8, "mean": (0,), "std": (0,)}},
            "positive",
        ),
        ({"preprocessing": {"channels": "L", "resize_shorter_to": 8, "crop": 8, "mean": (), "std": (1,)}}, "1 means"),
        ({"golden": {"count": 0, "tolerance": 0.1}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, change, said):
    folder = write(tmp_path / "b")
    edit(folder, lambda data: data.update(change))
    with pytest.raises(EdgepruneError, match=said):
        open_bundle(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"",
        b"[]",
        b"\xff{}",
        b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}',
        b'{"schema": 1' + b"0" * 5000,
    ],
)
def test_a_manifest_that_is_no_json_object_is_one_line(tmp_path, text):
    folder = write(tmp_path / "b")
    rewrite(folder, text)
    with pytest.raises(EdgepruneError) as refused:
        open_bundle(folder)
    assert "\n" not in str(refused.value)


def test_a_file_of_another_size_is_not_read(tmp_path, monkeypatch):
    folder = write(tmp_path / "b")
    (folder / MODEL).write_bytes(b"x" * 1000)
    monkeypatch.setattr(bundle, "file_sum", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(EdgepruneError, match=r"does not match its sha256"):
        open_bundle(folder)


def test_labels_are_lines_and_nothing_else_splits_them(tmp_path):
    folder = write(tmp_path / "b")
    (folder / LABELS).write_bytes("one\u2028 two\x0b\nthree\r\n\n".encode())
    edit(folder, lambda data: data["files"].update({LABELS: file_sum(folder / LABELS).model_dump()}))
    assert open_bundle(folder).labels == ["one\u2028 two\x0b", "three\r", ""]
    (folder / LABELS).write_bytes(b"\xff\n")
    edit(folder, lambda data: data["files"].update({LABELS: file_sum(folder / LABELS).model_dump()}))
    with pytest.raises(EdgepruneError, match="not UTF-8"):
        _ = open_bundle(folder).labels


def test_the_json_schema_is_that_of_the_manifest():
    shipped = json.loads((Path(bundle.__file__).parent / "bundle.schema.json").read_text(encoding="utf-8"))
    generated = Manifest.model_json_schema(by_alias=True)
    assert shipped["properties"].keys() == generated["properties"].keys()
    assert shipped["required"] == generated["required"]
    if pydantic.VERSION.split(".")[:2] == shipped["$comment"].rsplit(" ", 1)[1].split(".")[:2]:
        # Versions of pydantic differ in how they word a schema.
        assert {key: value for key, value in shipped.items() if not key.startswith("$c")} == generated
