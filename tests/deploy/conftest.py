"""A device behind a real sshd for all tests of the room, and bundles to deploy to it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprune.deploy import visit
from edgeprune.deploy.wheels import Chooser, choose_pip
from edgeprune.errors import EdgepruneError
from tests.conftest import Here
from tests.deploy import sshd
from tests.measure.conftest import make_bundle as make_bundle


def python310() -> str:
    """The interpreter of JetPack 6's version, as .ci/run finds it, or skip the test saying why."""
    found = shutil.which(os.environ.get("PYTHON310", "python3.10"))
    if found is None:
        pytest.skip("no Python 3.10 here: install python3.10, or name one in PYTHON310")
    return found


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of choices and wheels of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's cache alone, but let pip use its own."""
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    monkeypatch.setenv("PIP_CACHE_DIR", os.environ.get("PIP_CACHE_DIR") or str(Path(users) / "pip"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(visit, "PAUSES_S", (0, 0.5, 1))


@pytest.fixture(scope="session")
def index() -> None:
    """Skip tests that fetch wheels where there is no package index."""
    try:
        choose_pip(Chooser("3.10", "cpython", (), None))
    except EdgepruneError as error:
        pytest.skip(f"no package index here: {error}")


@pytest.fixture(scope="session")
def jetson(index: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Device]:
    """A device of Python 3.10, shared by the tests: what one deploys, the next finds there."""
    del index
    with sshd.start(tmp_path_factory.mktemp("jetson"), "jetson", python310()) as device:
        yield device


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Device]:
    """A device on which nothing is ever deployed; needs no package index."""
    with sshd.start(tmp_path_factory.mktemp("bare"), "bare", sys.executable) as device:
        yield device


@pytest.fixture
def desktop(index: None, tmp_path: Path) -> Iterator[sshd.Device]:
    """A second device, new, with the Python of these tests."""
    del index
    with sshd.start(tmp_path / "desktop", "desktop", sys.executable) as device:
        yield device


@pytest.fixture
def link(jetson: sshd.Device, bundle: Path, here: Here) -> Iterator[tuple[sshd.Device, sshd.Proxy]]:
    """The shared device, which has an environment already, behind a network that can be broken."""
    if not list(jetson.folder.glob("environments/*/whole")):
        assert here("deploy", str(bundle), "jetson", "--ssh", jetson.ssh, "--no-profile", "--json").code == 0
    proxy = sshd.Proxy(jetson.port)
    yield jetson.through(proxy), proxy
    proxy.close()


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


@pytest.fixture
def large_bundle(make_bundle: Callable[..., Path]) -> Path:
    """A bundle that takes a while to send: 16 MB of labels that no other bundle has."""
    from edgeprune.spec.bundle import LABELS, file_sum, open_bundle, write_manifest

    folder = make_bundle("large")
    (folder / LABELS).write_text(os.urandom(8 << 20).hex(), encoding="ascii")
    manifest = open_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"files": manifest.files | {LABELS: file_sum(folder / LABELS)}}))
    return open_bundle(folder).path


def open_manifest(folder: Path):
    from edgeprune.spec.bundle import MANIFEST, Manifest
    from edgeprune.spec.strict import read_json

    return read_json(Manifest, folder / MANIFEST)
