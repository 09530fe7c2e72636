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
from edgeprune.engine.runner import Runner, offered
from edgeprune.engine.trt.offer import available, open_built
from edgeprune.measure.golden import check_golden, load_golden
from edgeprune.spec.bundle import open_bundle
def open_golden(): return load_golden(open_bundle(Path("bundle"))).input[:1]
assert available() and offered()[0] == "tensorrt"
runner: Runner = open_built(Path("bundle/model.onnx"))
assert runner.runtime == "TensorRT 10.3.0 (Orin)" and not runner.simulated
assert check_golden(open_bundle(Path("bundle")), runner).worst < 1e-5
rows = runner.layer_times(open_golden(), 2)
assert {"stem.0", "a.0", "head", "other"} <= {row.name for row in rows} and sum(row.ms for row in rows) > 0
runner.close()
Path("alone").mkdir()  # a single layer, as a table of layers times it, is in no bundle
Path("alone/layer.onnx").write_bytes(Path("bundle/model.onnx").read_bytes())
alone = open_built(Path("alone/layer.onnx"))
assert alone.layer_times(open_golden(), 2)
alone.close()
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


def test_the_log_of_a_build_is_whole(fake: Fake, bundle: Path) -> None:
    """The process ends without Python's clean-up, so nothing may wait in a buffer; nor where TensorRT crashes."""
    assert fake("10.3.0", "bindings", *BUILD, "--sparse").code == 0
    log = (bundle / "engines" / "build.log").read_text(encoding="utf-8")
    assert log.startswith("[VERBOSE] Searching kernels\n")
    assert log.endswith("picked sparse implementation for layers: \n")


@pytest.mark.usefixtures("bundle")
def test_an_engine_that_does_not_run_is_one_line_with_tensorrts_reason(fake: Fake) -> None:
    done = fake("10.3.0", "bindings", *BUILD, FAKE_RUN="fails")
    assert done.code == 2
    assert "execute_async_v3 failed: Error Code 1: Cuda Runtime (out of memory)" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


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


def test_profile_measures_a_built_engine(fake: Fake, bundle: Path) -> None:
    """With pycuda, which aborts a process that ends with a context open."""
    without = fake("10.3.0", "pycuda", "-m", "edgeprune", "profile", "bundle", "--seconds", "0.1")
    assert without.code == 2
    assert "Run edgeprune build bundle first" in without.err
    assert fake("10.3.0", "pycuda", *BUILD).code == 0
    done = fake("10.3.0", "pycuda", "-m", "edgeprune", "profile", "bundle", "--seconds", "0.1", "--json")
    assert done.code == 0, done.err
    profile = json.loads(done.out)
    assert profile["runtime"] == "TensorRT 10.3.0 (Orin)"
    assert {"stem.0", "a.0", "head"} <= {row["name"] for row in profile["layers"]}
    assert (bundle.parent / "profiles").is_dir()


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
        ({"FAKE_ANSWERS": "wrong"}, ["relative error of 1,", "--no-fp16"]),
        ({"FAKE_BUILD": "crashes"}, ["signal 6", "build.log"]),
        ({"FAKE_CUINIT": "100"}, ["there is no CUDA device", "no CUDA-capable device is detected"]),
        ({"FAKE_CAPABILITY": "8.6", "FAKE_GPU": "NVIDIA GeForce RTX 3060"}, ["compute capability 8.6", "8.7"]),
    ],
    ids=["fails", "wrong answers", "crashes", "no device", "another device"],
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
