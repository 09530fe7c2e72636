"""Settings, timing cache, plans, memory, percentiles, trtexec's flags, and the DLA plan: each alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.engine.trt.dla import dla_plan
from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.lane import Ends
from edgeprune.engine.trt.log import open_log
from edgeprune.engine.trt.memory import check_memory
from edgeprune.engine.trt.plans import PlanRecord, find_plan, plan_path, write_plan
from edgeprune.engine.trt.release import Release, parse_release
from edgeprune.engine.trt.settings import BuildSettings, parse_range
from edgeprune.engine.trt.timing import Query, percentile, summary
from edgeprune.engine.trt.timing_cache import cache_key, load_cache, save_cache
from edgeprune.engine.trt.trtexec import command
from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import FileSum, file_sum
from edgeprune.spec.target import load_target

GPU = Gpu("Orin", "8.7", 8 << 30, True, "12.6", 8)


def test_a_cpu_machine_says_why_there_is_no_gpu() -> None:
    assert isinstance(first_gpu(), Gpu | str)


def test_releases() -> None:
    assert str(parse_release("10.3.0")) == "10.3.0"
    assert parse_release("10.16.1.11").strongly_typed
    assert not parse_release("10.9.0.34").strongly_typed
    assert [parse_release(text).newest_opset for text in ("8.5.3.1", "10.3.0", "11.4.0.106")] == [17, 20, 20]
    for text in ("8.4.1", "12.0.0", "none"):
        with pytest.raises(EdgepruneError):
            parse_release(text)


def test_shape_ranges() -> None:
    assert str(parse_range("8")) == "8:8:8"
    assert str(parse_range("1:8:32")) == "1:8:32"
    for text in ("", "0", "8:1:32", "1:2", "a", "1x3x224x224", "-1"):
        with pytest.raises(EdgepruneError, match="--shape-range"):
            parse_range(text)


@pytest.mark.parametrize(("shape", "words"), [((5, 3, 4), "5:5"), ((2, 3, 5), "images of shape"), ((0, 3, 4), "0")])
def test_a_batch_that_the_engine_was_not_built_for(shape: tuple[int, ...], words: str) -> None:
    ends = Ends("x", "y", (3, 4), (2,), 1, 4)
    ends.check((4, 3, 4))
    with pytest.raises(EdgepruneError, match=words):
        ends.check(shape)


def test_a_timing_cache_is_of_one_release_device_and_power_mode(tmp_path: Path) -> None:
    mode, file = tmp_path / "status", tmp_path / "deep" / "t.cache"
    mode.write_text("pmode:0002\n", encoding="utf-8")
    key = cache_key(parse_release("10.3.0"), GPU, mode)
    assert key["power_mode"] == "0002"
    save_cache(file, b"kernels", key)
    told: list[str] = []
    assert load_cache(file, key, told.append) == b"kernels"
    assert not told
    mode.write_text("pmode:0000\n", encoding="utf-8")
    other = cache_key(parse_release("10.16.1"), GPU, mode)
    assert load_cache(file, other, told.append) == b""
    assert "tensorrt 10.3.0, not 10.16.1" in told[0]
    assert "power_mode 0002, not 0000" in told[0]
    assert load_cache(tmp_path / "none", key, told.append) == b""


def _record(model: Path, **more: object) -> PlanRecord:
    given: dict[str, object] = {
        "built": "2026-11-26T10:00:00",
        "seconds": 1.0,
        "model_sha256": file_sum(model).sha256,
        "device": GPU.name,
        "capability": GPU.capability,
        "multiprocessors": GPU.multiprocessors,
        "tensorrt": "10.3.0",
        "settings": BuildSettings(),
        "plan": FileSum(sha256="0" * 64, bytes=4),
    }
    return PlanRecord.model_validate(given | more)


def test_a_plan_is_found_for_its_model_device_and_release_only(tmp_path: Path) -> None:
    model, release = tmp_path / "model.onnx", Release(10, 3)
    model.write_bytes(b"onnx")
    with pytest.raises(EdgepruneError, match="no engine for Orin"):
        find_plan(model, GPU, release)
    path = plan_path(model, GPU, release, BuildSettings())
    assert path.name.startswith("orin-sm87-trt10.3.0-")
    assert path != plan_path(model, GPU, release, BuildSettings(sparse=True))
    write_plan(path, b"plan", _record(model))
    assert find_plan(model, GPU, release).path == path
    assert find_plan(model, GPU, release, BuildSettings()).path == path
    with pytest.raises(EdgepruneError, match=r"for Orin \(8 multiprocessors\) with TensorRT 10\.3\.0"):
        find_plan(model, GPU, Release(10, 16))
    with pytest.raises(EdgepruneError):
        find_plan(model, GPU, release, BuildSettings(sparse=True))
    with pytest.raises(EdgepruneError, match=r"no engine for Orin \(16 multiprocessors\)"):
        find_plan(model, replace(GPU, multiprocessors=16), release)  # an AGX Orin calls itself Orin too
    with pytest.raises(EdgepruneError, match="does not match its sha256"):
        find_plan(model, GPU, release).read()
    model.write_bytes(b"other")
    with pytest.raises(EdgepruneError):
        find_plan(model, GPU, release)


def test_a_version_compatible_plan_runs_on_later_releases_of_its_major(tmp_path: Path) -> None:
    model, settings = tmp_path / "model.onnx", BuildSettings(version_compatible=True)
    model.write_bytes(b"onnx")
    path = plan_path(model, GPU, Release(10, 3), settings)
    write_plan(path, b"plan", _record(model, settings=settings))
    assert find_plan(model, GPU, Release(10, 16)).path == path
    for release in (Release(10, 2), Release(11, 0)):
        with pytest.raises(EdgepruneError):
            find_plan(model, GPU, release)


def test_memory_that_a_build_does_not_have(tmp_path: Path) -> None:
    model, meminfo = tmp_path / "model.onnx", tmp_path / "meminfo"
    model.write_bytes(b"0" * 1000)
    meminfo.write_text("MemTotal: 7800000 kB\nMemAvailable: 1000000 kB\nSwapFree: 100000 kB\n", encoding="utf-8")
    with pytest.raises(EdgepruneError, match=r"1\.0 GiB are left"):
        check_memory(model, None, GPU, meminfo)
    meminfo.write_text("MemAvailable: 4000000 kB\n", encoding="utf-8")
    check_memory(model, None, GPU, meminfo)
    with pytest.raises(EdgepruneError, match="--workspace 9000"):
        check_memory(model, 9000, GPU, meminfo)
    with pytest.raises(EdgepruneError, match="takes about"):
        check_memory(model, 4000, GPU, meminfo)  # an integrated GPU takes it from the same memory


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_does_not_end_a_build() -> None:
    log = open_log(Path("/dev/full"))
    log.take("ERROR", "first")
    log.take("ERROR", "last")
    assert log.fault == "first"
    assert log.last_fault == "last"
    assert ("WARNING", "the log's file ends here (No space left on device)") in log.lines


def test_percentiles_are_values_that_occurred() -> None:
    ordered = np.arange(100, dtype=np.float64)
    assert [percentile(ordered, share) for share in (90, 95, 100)] == [89, 94, 99]
    assert percentile(ordered, 99) == 99  # 1 - 0.99 is a little less than 0.01 in single precision
    assert percentile(np.arange(1000, dtype=np.float64), 99) == 990
    assert percentile(np.array([7.0]), 99) == 7


def test_enqueue_bound_queries_are_told() -> None:
    bound = summary([Query(0.1, 1.0, 0.1, 0.9)] * 10, 4, 1.0, graph=False)
    assert bound.enqueue_bound
    assert not bound.unstable
    assert bound.latency_ms.median == pytest.approx(1.2)
    assert bound.throughput_per_s == 40
    assert not summary([Query(0.1, 1.0, 0.1, 0.2)] * 10, 1, 1.0, graph=True).enqueue_bound


def test_trtexecs_flags_by_major_version() -> None:
    tool, plan, shape = Path("trtexec"), Path("a.plan"), ("input", (8, 3, 224, 224))
    old = command(tool, plan, Release(10, 3), shape, 3.0, graph=True)
    assert "--shapes=input:8x3x224x224" in old
    assert {"--useSpinWait", "--useCudaGraph"} <= {*old}
    assert "--includeDataTransfers" not in old
    new = command(tool, plan, Release(11, 4), None, 3.0, graph=True)
    assert "--includeDataTransfers" in new
    assert not {"--useSpinWait", "--useCudaGraph", "--noCudaGraph"} & {*new}
    assert "--noCudaGraph" in command(tool, plan, Release(11, 0), None, 3.0, graph=False)


def test_what_a_dla_could_run(made_bundle: Path) -> None:
    plan = dla_plan(made_bundle / "model.onnx", load_target("jetson-agx-orin"), fixed_batch=False)
    layers = {layer.name: layer for layer in plan.layers}
    assert layers["stem.0"].reason is None
    assert "1x1 convolution" in str(layers["head"].reason)
    assert not any(layer.op in ("QuantizeLinear", "DequantizeLinear") for layer in plan.layers)
    assert "calibration table" in plan.needs[0]
    assert "--shape-range" in plan.needs[-1]
    assert dla_plan(made_bundle / "model.onnx", load_target("jetson-orin-nano")).needs == [
        "Jetson Orin Nano 8GB has no DLA"
    ]


def test_recorded_api_is_of_ten_releases() -> None:
    releases = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text(encoding="utf-8"))
    assert ([*releases].index("8.5.3.1"), [*releases].index("11.4.0.106")) == (0, 9)
    assert len(releases) == 10
