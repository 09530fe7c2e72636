"""package.json and archives, by properties: what goes in comes out, and whatever else comes is one line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError
from edgeprune.packaging.archive import pack, unpack
from edgeprune.packaging.contents import CONTENTS, Contents, list_contents, plain_name, read_contents, write_contents
from edgeprune.spec.bundle import Manifest, file_sum, parse_manifest
from edgeprune.spec.strict import json_of
from tests.packaging.conftest import write_bundle

HERE = Path("here")
PART = st.from_regex(r"[a-z0-9_-][a-zA-Z0-9._-]{0,12}", fullmatch=True)
FILES = st.dictionaries(
    st.lists(PART, min_size=1, max_size=4).map("/".join), st.binary(max_size=600), min_size=1, max_size=6
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


def can_lie_together(files: dict[str, bytes]) -> bool:
    names = {name.lower() for name in files}
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    return len(names) == len(files) and not folders & set(files) and CONTENTS not in names


@settings(max_examples=30, deadline=None)
@given(files=FILES)
def test_what_is_packed_comes_out_the_same(files: dict[str, bytes]) -> None:
    if not can_lie_together({name.lower(): content for name, content in files.items()}):
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary, "in"), Path(temporary, "out")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        contents = list_contents(folder, "bundle", "net", "0.1.0", None)
        write_contents(folder, contents)
        pack(folder, contents, Path(temporary, "p.tar.gz"))
        assert unpack(Path(temporary, "p.tar.gz"), out)[0] == contents
        assert {name: (out / name).read_bytes() for name in files} == files


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=3000))
def test_any_bytes_are_an_archive_or_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary, "a.tar.gz")
        archive.write_bytes(content)
        with pytest.raises(EdgepruneError) as refused:
            unpack(archive, Path(temporary, "out"))
        assert "\n" not in str(refused.value)
        assert list(Path(temporary).iterdir()) == [archive]


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_is_a_list_or_one_line(text: bytes) -> None:
    for read in (read_contents, parse_manifest):
        with pytest.raises(EdgepruneError) as refused:
            read(text, HERE)
        assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_bundle(tmp_path_factory.mktemp("sound") / "bundle")
    return json.loads((folder / "manifest.json").read_bytes())


def manifest_or_line(text: bytes) -> Manifest | str:
    try:
        return parse_manifest(text, HERE)
    except EdgepruneError as error:
        return str(error)


FIELDS = sorted(Manifest.model_json_schema(by_alias=True)["properties"])


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_a_field_of_anything_is_read_back_or_one_line(sound: dict[str, Any], field: str, value: Any) -> None:
    text = json.dumps(sound | {field: value}).encode()
    read = manifest_or_line(text)
    if isinstance(read, str):
        assert "\n" not in read
    else:
        assert manifest_or_line(read.model_dump_json(by_alias=True).encode()) == read


def test_the_schema_takes_what_is_written_and_refuses_what_is_refused(sound: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_of((Path(parse_manifest.__code__.co_filename).parent / "bundle.schema.json").read_bytes(), "schema")
    reader = jsonschema.Draft202012Validator(schema)
    assert list(reader.iter_errors(sound)) == []
    for wrong in (
        {"schema": 2},
        {"extra": 1},
        {"name": "two\nlines"},
        {"files": {"../x": sound["files"]["model.onnx"]}},
    ):
        assert list(reader.iter_errors(sound | wrong)) != []
        with pytest.raises(EdgepruneError):
            parse_manifest(json.dumps(sound | wrong).encode(), HERE)


def listed(*names: str, **fields: Any) -> bytes:
    some = file_sum(Path(__file__)).model_dump()
    plain = {"schema": 1, "kind": "cpp", "name": "net", "edgeprune_version": "0", "bundle": "bundle"}
    return json.dumps(plain | {"files": {name: some for name in names}} | fields).encode()


@pytest.mark.parametrize(
    "names",
    [
        ("../x",), ("/x",), ("a//b",), ("a/../b",), ("a/./b",), ("a\\b",), ("C:x",), (".x",), ("a/.x",), ("",), ("a/",),
        ("x\n",), ("é",), ("A", "a"), ("a", "a/b"), ("package.json",), ("Package.JSON",), ("x" * 101,),
        ("a/" * 8 + "x",),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_collide_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(EdgepruneError):
        read_contents(listed(*names), HERE)


def test_limits_of_a_list() -> None:
    assert isinstance(read_contents(listed("a", "b/c"), HERE), Contents)
    huge = {"sha256": "0" * 64, "bytes": 8 << 30}
    with pytest.raises(EdgepruneError, match="is the most"):
        read_contents(listed(files={name: huge for name in "abc"}), HERE)
    with pytest.raises(EdgepruneError, match="at most 1000"):
        read_contents(listed(*map(str, range(1001))), HERE)
    with pytest.raises(
        EdgepruneError, match=r"a package of format 2, and this edgeprune reads up to 1\. pip install -U"
    ):
        read_contents(listed("a", schema=2), HERE)


@given(name=st.text(max_size=200))
def test_a_plain_name_is_one(name: str) -> None:
    found = plain_name(name)
    assert isinstance(read_contents(listed(found), HERE), Contents)
    assert plain_name(found) == found
