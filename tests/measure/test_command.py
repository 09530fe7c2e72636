"""`edgeprune profile` as a command: what it measures on request, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(make_bundle: Callable[..., Path], tmp_path: Path) -> Run:
    """Run the command in a folder with two bundles, `one` and `two`, of the same network."""
    make_bundle("one")
    make_bundle("two")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "edgeprune", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return command


def test_everything_that_can_be_asked_for_is_in_the_profile(run: Run, tmp_path: Path) -> None:
    asked = ["--seconds", "0.2", "--threads", "1", "--batch", "1", "--batch", "4", "--streams", "2", "--against", "two"]
    done = run("profile", "one", *asked, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(load["batch"], load["streams"]) for load in found["loads"]] == [(4, 1), (1, 2), (4, 2)]
    assert found["ratio"]["against"] == "linear"
    low, high = found["ratio"]["ratio"]["ci"]
    assert 0 < low < high
    assert found["machine"]["runtime_settings"]["intra_op_num_threads"] == "1"
    assert found["machine"]["runtime_settings"]["enable_cpu_mem_arena"] == "True"
    assert found["machine"]["affinity"]
    assert found["versions"]["onnxruntime"]
    assert found["latency_ms"]["p90"] <= found["latency_ms"]["p95"]
    assert found["memory"]["private_bytes"] > 0
    assert found["memory"]["arena_bytes"] > 0
    (written,) = (tmp_path / "profiles").rglob("*.json")
    assert json.loads(written.read_text(encoding="utf-8")) == found
    with np.load(written.with_suffix(".times.npz")) as calls:
        assert len(calls["ms"]) == found["latency_ms"]["count"]
        assert float(np.median(calls["ms"])) == pytest.approx(found["latency_ms"]["p50"], rel=1e-5)
    assert run("profile", "one", "--seconds", "0.1").returncode == 0
    assert len(list((tmp_path / "profiles").rglob("history/*.json"))) == 1
    (comparison,) = json.loads(run("report", "profiles", "--json").stdout)["comparisons"]
    first, second = (row["label"] for row in comparison["rows"])
    assert first.startswith("linear 2")
    assert first <= second


def test_the_table_for_people_says_it_all(run: Run) -> None:
    done = run("profile", "one", "--seconds", "0.2", "--batch", "1", "--batch", "2")
    assert done.returncode == 0, done.stderr
    for word in ("p95", "batch 2: ", "private", "arena", "not measured", "slowest"):
        assert word in done.stdout, word
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("one", "--seconds", "1", "--report"), "--seconds, --report and --mlperf say the same thing"),
        (("one", "--runtime", "npu"), "unknown --runtime 'npu'. Known: tensorrt, cuda, cpu"),
        (("one", "--runtime", "tensorrt"), "--runtime tensorrt is not on this machine"),
        (("one", "--meter", "none.csv"), "--meter none.csv: no such file"),
        (("one", "--data", "nowhere"), "trained on arrays"),
        (("one", "--against", "three"), "three: no bundle here"),
        (("one", "--layers"), "describes no layers"),
        (("--layers", "--precision", "int4"), "unknown --precision 'int4'. Known: int8, fp32"),
        ((), "Give a bundle folder"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("profile", *arguments, *(["--seconds", "0.1"] if told.startswith("describes") else []))
    assert done.returncode == 2, done.stdout
    assert told in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "profiles").exists()


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("time,watts\n1700000000,5\n1700000001,5\n", "has no readings up to the end"),
        ("some,thing\nelse,entirely\n", "not a meter's log"),
    ],
)
def test_a_meter_s_log_that_says_nothing_still_gives_a_profile(run: Run, tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "meter.csv").write_text(log, encoding="utf-8")
    done = run("profile", "one", "--seconds", "0.2", "--meter", "meter.csv", "--json")
    assert done.returncode == 0, done.stderr
    power = json.loads(done.stdout)["power"]
    assert not power["measured"]
    assert told in power["reason"]
