"""Mutated bundles and archives: refused with one line, no crash, nothing written outside, in Python and in C++."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import load_golden
from edgeprune.packaging.archive import unpack
from edgeprune.packaging.check import trusted_bundle
from edgeprune.packaging.forms import Order
from edgeprune.packaging.signature import sign
from edgeprune.packaging.write import package_bundle
from edgeprune.spec.bundle import GOLDEN, Bundle, open_bundle
from tests.packaging import mutations
from tests.packaging.conftest import allow, make_key
from tests.tiny import snapshot

FEW, MANY = 300, 5000
"""Of bundles and of archives, each."""


def _open(path: Path) -> Bundle:
    bundle = open_bundle(path)
    _ = bundle.labels
    load_golden(bundle)
    return bundle


def _same(a: Bundle, b: Bundle) -> bool:
    """Whether two bundles mean the same: a change of white space, of a comment or of a zip's unused fields is none."""
    x, y = load_golden(a), load_golden(b)
    files = (a.model, b.model), (a.path / "labels.txt", b.path / "labels.txt")
    return (
        a.manifest.model_copy(update={"files": {}}) == b.manifest.model_copy(update={"files": {}})
        and all(one.read_bytes() == other.read_bytes() for one, other in files)
        and np.array_equal(x.input, y.input)
        and np.array_equal(x.output, y.output)
    )


def _try_bundles(sound: Path, work: Path, count: int, seed: int) -> tuple[int, list[Bundle]]:
    """How many of `count` mutated bundles were refused, and the others."""
    refused, taken, lines = 0, [], set()
    for number in range(count):
        folder = work / str(number)
        mutations.mutate_bundle(random.Random(seed + number), sound, folder)
        try:
            taken.append(_open(folder))
        except EdgepruneError as error:
            lines.add(str(error).count("\n"))
            refused += 1
            shutil.rmtree(folder)
    assert lines == {0}
    return refused, taken


def _bundles(make_bundle, tmp_path: Path, count: int) -> None:
    sound, work = make_bundle("sound"), tmp_path / "work"
    signers = allow(tmp_path / "signers", "maker@example.org", make_key(tmp_path, "key"))
    (sound / "manifest.json.sig").write_bytes(sign((sound / "manifest.json").read_bytes(), tmp_path / "key"))
    original = _open(sound)
    before = snapshot(sound)
    work.mkdir()
    refused, taken = _try_bundles(sound, work, count, 0)
    lines = set()
    assert refused > 0.6 * count
    for bundle in taken:
        # Who forges a manifest and its sum can say whatever a manifest may say; a signature shows it.
        assert bundle.model.read_bytes() == original.model.read_bytes()
        try:
            trusted_bundle(bundle.path, signers)
        except EdgepruneError as error:
            lines.add(str(error).count("\n"))
        else:
            assert (bundle.digest, _same(bundle, original)) == (original.digest, True)
    assert lines == {0}
    assert snapshot(sound) == before


def test_mutated_bundles(make_bundle, tmp_path: Path) -> None:
    _bundles(make_bundle, tmp_path, FEW)


@pytest.mark.slow
def test_thousands_of_mutated_bundles(make_bundle, tmp_path: Path) -> None:
    _bundles(make_bundle, tmp_path, MANY)


def _archives(make_bundle, tmp_path: Path, count: int) -> None:
    sound = package_bundle(Order(open_bundle(make_bundle("sound")), 8), "bundle", tmp_path / "sound.tar.gz")
    unpack(sound, tmp_path / "original")
    original = _open(tmp_path / "original")
    box = tmp_path / "box"
    box.mkdir()
    before = snapshot(tmp_path)
    lines, left = set(), []
    for number in range(count):
        changed = tmp_path / "changed.tar.gz"
        mutations.mutate_archive(random.Random(number), sound, changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                contents, _ = unpack(changed, box / "out")
        except EdgepruneError as error:
            lines.add(str(error).count("\n"))
            left += list(box.iterdir())
        else:
            # Only words were changed, or what the formats do not use: no byte of a file.
            assert set(contents.files) == {path.name for path in (tmp_path / "original").iterdir()} - {"package.json"}
            assert _same(_open(box / "out"), original), number
            shutil.rmtree(box / "out")
        changed.unlink()
        assert not (tmp_path / "evil").exists()
        assert not Path("/tmp/evil").exists()
    assert snapshot(tmp_path) == before
    assert lines == {0}
    assert left == []


def test_mutated_archives(make_bundle, tmp_path: Path) -> None:
    _archives(make_bundle, tmp_path, FEW)


@pytest.mark.slow
def test_thousands_of_mutated_archives(make_bundle, tmp_path: Path) -> None:
    _archives(make_bundle, tmp_path, MANY)


@pytest.fixture
def archive(make_bundle, tmp_path: Path) -> Path:
    return package_bundle(Order(open_bundle(make_bundle("sound")), 8), "bundle", tmp_path / "sound.tar.gz")


@pytest.mark.parametrize("change", mutations.CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_members_is_refused(archive: Path, tmp_path: Path, change) -> None:
    refused = 0
    for seed in range(20):
        members = mutations.members_of(archive)
        change(random.Random(seed), members)
        mutations.write_archive(tmp_path / "changed.tar.gz", members)
        try:
            unpack(tmp_path / "changed.tar.gz", tmp_path / "out")
            shutil.rmtree(tmp_path / "out")
        except EdgepruneError:
            refused += 1
        assert not (tmp_path / "evil").exists()
    # A forged list may say another name or version: words that only a signature protects.
    assert refused == 20 or (change.__name__ == "_forge_list" and refused > 12)


def test_a_bomb_is_stopped_at_the_first_byte_too_many(archive: Path, tmp_path: Path, monkeypatch) -> None:
    members = mutations.members_of(archive)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", 1) as stream:
        stream.write(raw.getvalue()[:-1024].rstrip(b"\0") + bytes(512))
        for _ in range(200):
            stream.write(bytes(1 << 20))
    read = 0
    whole = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal read
        data = whole(self, size)
        read += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(EdgepruneError):
        unpack(bomb, tmp_path / "out")
    assert read < 1 << 20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("listed", [False, True])
def test_a_header_that_extends_another_is_not_read(tmp_path: Path, kind: bytes, listed: bool) -> None:
    """Into memory, that is, as tarfile does; not even where the list promises as many bytes."""
    files = {"x": {"sha256": "0" * 64, "bytes": 1 << 30}}
    plain = {"schema": 1, "kind": "cpp", "name": "net", "edgeprune_version": "0", "bundle": None, "files": files}
    text = json.dumps(plain).encode()
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 1 << 30
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", 1) as stream:
        if listed:
            first = tarfile.TarInfo("package.json")
            first.size = len(text)
            stream.write(first.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512))
        stream.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(8):
            stream.write(bytes(1 << 20))
    with pytest.raises(EdgepruneError, match="'x' is no plain file"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")


def test_an_array_that_promises_terabytes_takes_no_room(make_bundle) -> None:
    folder = make_bundle()
    bundle = open_bundle(folder)
    with zipfile.ZipFile(folder / GOLDEN, "w") as zipped:
        for name in ("input.npy", "output.npy"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 3, 12, 12)}
            )
            zipped.writestr(name, header.getvalue())
    with pytest.raises(EdgepruneError, match="the manifest says"):
        load_golden(bundle)
    with zipfile.ZipFile(folder / GOLDEN, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("input.npy", bytes(1 << 20))
        zipped.writestr("output.npy", bytes(1 << 20))
    with pytest.raises(EdgepruneError, match="compressed"):
        load_golden(bundle)


def test_nothing_that_is_there_is_unpacked_over(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EdgepruneError, match="is there already"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()
