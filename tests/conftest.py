"""Fixtures that several rooms share: the command line on a network of seconds, and one finished run of it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.tiny import Done

# Before torch is loaded, and inherited by every command that a test starts: the networks here are too small to share
# among cores, and waiting threads of several processes starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Here = Callable[..., Done]
"""Runs the command line in this process, in the test's folder: `here("targets", "--json")`."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Run the command line in this process, which saves the seconds that torch takes to load."""
    from edgeprune.cli import main
    from edgeprune.pipeline import deliver, gain

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deliver, "SECONDS", 0.2)
    monkeypatch.setattr(gain, "SECONDS", 0.0)

    def command(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeprune", *arguments])
        capsys.readouterr()
        code: object = None
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Done(code if isinstance(code, int) else 0 if code is None else 1, *capsys.readouterr())

    with warnings.catch_warnings():
        yield command
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py, data.npz and photos/."""
    folder = tmp_path_factory.mktemp("workplace")
    tiny.write_net(folder)
    tiny.write_npz(folder / "data.npz")
    tiny.write_folders(folder / "photos")
    return folder


@pytest.fixture(scope="session")
def compressed(workplace: Path) -> tuple[Path, Done]:
    """A run directory that `edgeprune compress` finished, and what it printed; read it, do not change it."""
    arguments = (
        "net.py:build",
        "--data",
        "data.npz",
        "--probes",
        "2",
        "--epochs",
        "1",
        "--dense-epochs",
        "2",
        "--json",
    )
    done = tiny.run("compress", *arguments, cwd=workplace)
    assert done.code == 0, done.err
    (run,) = (workplace / "runs").iterdir()
    return run, done
