"""(d) The whole command against a fake TensorRT that enforces call order and types, and a fake GPU.

The fake computes with ONNX Runtime what was parsed, so golden outputs are really compared; its times say nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.engine.trt.conftest import HERE, Fake
from tests.engine.trt.network import half_limit

OPEN = """
from pathlib import Path
from edgeprune.engine.runner import Runner
from edgeprune.engine.trt.offer import available, open_built
from edgeprune.measure.golden import check_golden
from edgeprune.spec.bundle import open_bundle
assert available()
runner: Runner = open_built(Path("bundle/model.onnx"))
assert runner.runtime == "TensorRT 10.3.0 (Orin)" and not runner.simulated
assert check_golden(open_bundle(Path("bundle")), runner).worst < 1e-5
runner.close()
"""
BUILD = ("-m", "edgeprune", "build", "bundle", "--seconds", "0.1")


@pytest.mark.parametrize(
    ("release", "cuda", "precision"),
    [("10.3.0", "bindings", "INT8"), ("11.4.0.106", "bindings", "strong")],
)
def test_build_checks_times_and_reads_back(release: str, cuda: str, precision: str, fake: Fake, bundle: Path) -> None:
    assert not (bundle / "engines").exists()
    more = () if release != "11.4.0.106" else ("--any-device",)
    done = fake(release, cuda, *BUILD, "--sparse", "--shape-range", "1:2:4", "--streams", "2", "--json", *more)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["tensorrt"] == release
    # Flags leave types to TensorRT, and the fake keeps those of the file; a strongly typed network is in half.
    assert (report["golden_worst"] < 1e-5) == (precision == "INT8")
    assert report["golden_worst"] < half_limit()
    assert report["times"]["batch"] == 2
    assert report["times"]["cuda_graph"]
    assert report["times"]["queries"] >= 10
    assert report["streams_throughput_per_s"] > 0
    rows = {layer["layer"]: layer for layer in report["layers"]}
    assert rows["stem.0"]["precision"] == "int8"
    assert rows["stem.0"]["eligible"] is True
    assert rows["stem.0"]["sparse"] is False  # the log's second list is empty
    assert report["other_ms"] == pytest.approx(0.02)
    assert 0.5 < report["int8_time_share"] < 1


def test_a_plan_is_taken_again_and_a_changed_one_is_refused(fake: Fake, bundle: Path) -> None:
    first = fake("10.3.0", "bindings", *BUILD)
    assert first.code == 0, first.err
    assert "Golden outputs" in first.out
    opened = fake("10.3.0", "bindings", "-c", OPEN)  # what edgeprune profile needs of it
    assert opened.code == 0, opened.err
    again = fake("10.3.0", "bindings", *BUILD)
    assert "taken: " in again.err
    (plan,) = (bundle / "engines").glob("*.plan")
    plan.write_bytes(plan.read_bytes() + b" ")
    refused = fake("10.3.0", "bindings", *BUILD)
    assert refused.code == 2
    assert "does not match its sha256" in refused.err


@pytest.mark.usefixtures("bundle")
def test_trtexec_runs_beside_it(fake: Fake, tmp_path: Path) -> None:
    """A stand-in for the tool notes its flags, and exports queries as the real one does."""
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    exports = HERE / "recorded" / "export_times.json"
    copies = f'for flag; do case $flag in --exportTimes=*) cp {exports} "${{flag#*=}}";; esac; done'
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/flags\n{copies}\n', encoding="utf-8")
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    done = fake("10.3.0", "bindings", *BUILD, "--compare-trtexec", "--json", PATH=path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["trtexec"]["queries"] == 20
    flags = (tmp_path / "flags").read_text(encoding="utf-8").split()
    assert f"--loadEngine={report['plan']}" in flags
    assert "--useCudaGraph" in flags
    stripped = fake("10.3.0", "bindings", *BUILD, "--compare-trtexec", "--strip-weights", PATH=path)
    assert stripped.code == 2
    assert "cannot run a plan without weights" in stripped.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"FAKE_BUILD": "fails"}, ["Could not find any implementation for node stem.0"]),
        ({"FAKE_BUILD": "crashes"}, ["signal 6", "build.log"]),
        ({"FAKE_CUINIT": "100"}, ["there is no CUDA device", "no CUDA-capable device is detected"]),
        ({"FAKE_CAPABILITY": "8.6", "FAKE_GPU": "NVIDIA GeForce RTX 3060"}, ["compute capability 8.6", "8.7"]),
    ],
    ids=["fails", "crashes", "no device", "another device"],
)
def test_a_fault_is_one_line_and_leaves_no_plan(
    more: dict[str, str], words: list[str], fake: Fake, bundle: Path
) -> None:
    done = fake("10.3.0", "bindings", *BUILD, **more)
    assert done.code == 2
    lines = [line for line in done.err.splitlines() if "x86_64" not in line or "compute" in line]
    assert len(lines) == 1, done.err
    assert all(word in lines[0] for word in words), lines
    assert not [*bundle.glob("engines/*.plan")]
    assert done.out == ""


def test_releases_that_the_gate_refuses(fake: Fake, bundle: Path) -> None:
    old = fake("8.5.3.1", "bindings", *BUILD)
    assert old.code == 2
    assert "TensorRT 8.5.3.1 is older than those of the target (10.3, 10.16)" in old.err
    assert not (bundle / "engines").exists()
    builds = fake("8.5.3.1", "pycuda", *BUILD, "--any-device")
    assert builds.code == 0, builds.err
