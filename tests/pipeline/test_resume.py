"""Killed at any moment, the same command goes on and ends with the same weights as a run that nobody disturbed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import tiny

STAGES = ("dense", "curvature", "sensitivity", "prune", "finetune", "quantize", "export", "judge")
TRAINED = {"dense", "finetune", "quantize"}
"""Stages with a checkpoint after every epoch; killed after the first, they go on with the second."""
COMMAND = (
    "compress", "net.py:build", "--data", "data.npz", "--dense-epochs", "3", "--epochs", "3", "--qat-epochs", "3",
    "--probes", "2", "--batch-size", "16", "--seed", "3", "-o", "run",
)  # fmt: skip
PATIENCE_S = 120.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.write_net(folder)
    tiny.write_npz(folder / "data.npz")
    return _finish(folder)


def _finish(folder: Path) -> bytes:
    done = tiny.run(*COMMAND, cwd=folder)
    assert done.code == 0, done.err
    (final,) = folder.glob("run/stages/export-*/final.onnx")
    return final.read_bytes()


def _kill_in(stage: str, folder: Path) -> None:
    """Start the command and kill it, as `kill -9` does, once the stage is at work (and has a checkpoint)."""
    process = tiny.start(*COMMAND, cwd=folder)
    sign = f"run/stages/.{stage}-*.work" + ("/state.pt" if stage in TRAINED else "")
    end = time.monotonic() + PATIENCE_S
    while not any(folder.glob(sign)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{stage} did not begin"
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert any(folder.glob(f"run/stages/.{stage}-*.work")), f"{stage} was over before the kill"
    assert not (folder / "run" / "result.json").exists()


def _check_whole(folder: Path) -> None:
    result = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    assert tuple(result["seconds"]) == STAGES
    assert not list((folder / "run" / "stages").glob(".*")), "a stage's scratch folder is left"
    assert (folder / "run" / "bundle" / "manifest.json").is_file()


def test_killed_in_training_and_in_export_it_goes_on(place: Path, undisturbed: bytes) -> None:
    for stage in ("finetune", "export"):
        _kill_in(stage, place)
    assert _finish(place) == undisturbed
    _check_whole(place)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_it_goes_on(place: Path, undisturbed: bytes, stage: str) -> None:
    _kill_in(stage, place)
    assert _finish(place) == undisturbed
    _check_whole(place)


@pytest.mark.slow
def test_killed_in_every_stage_it_goes_on(place: Path, undisturbed: bytes) -> None:
    for stage in STAGES:
        _kill_in(stage, place)
    assert _finish(place) == undisturbed
    _check_whole(place)
