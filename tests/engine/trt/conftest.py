"""A bundle for TensorRT, and the command line on a fake TensorRT, CUDA and GPU (see `fake/`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import Done

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
ORIN = {"FAKE_GPU": "Orin", "FAKE_CAPABILITY": "8.7", "FAKE_INTEGRATED": "1"}
"""An Orin's GPU, as CUDA names it."""
Fake = Callable[..., Done]


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network in INT8 for jetson-orin-nano; copy it before something is built."""
    pytest.importorskip("onnx")
    from tests.engine.trt.network import write_bundle

    return write_bundle(tmp_path_factory.mktemp("trt") / "bundle")


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle of one's own."""
    shutil.copytree(made_bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Run Python on the fakes: `fake(release, cuda package, "-m", "edgeprune", ...)`."""

    def run(release: str, cuda: str, *arguments: str, **more: str) -> Done:
        path = [str(HERE / "fake" / "common"), str(HERE / "fake" / cuda), str(ROOT)]
        environment = os.environ | ORIN | {
            "PYTHONPATH": os.pathsep.join(path),
            "FAKE_TENSORRT": release,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        } | more  # fmt: skip
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With -v: the names of TensorRT's interface that are used, and the releases that have each."""
    for report in terminalreporter.getreports("passed"):
        for name, table in report.user_properties:
            if name == "tensorrt_api" and terminalreporter.verbosity > 0:
                terminalreporter.section("names of TensorRT's Python interface that are used")
                terminalreporter.write_line(str(table))
