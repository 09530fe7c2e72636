"""Engines of every bundle of `gpu_trt_export.py`: latency, memory, energy, precision and sparsity; without torch.

Made for a machine that is lent for minutes: what matters most is built first, the record is written after every engine,
nothing is begun after `--minutes`, and the same command goes on where it stopped. A fault is a row and not the end.

Two networks are compared by calls of both in turn, block after block, in one process. A plain loop of
execute_async_v3 between events is the slow twin of the product's own timing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import Show, known_rows, save

from edgeprune.engine.trt.plans import find_plan
from edgeprune.engine.trt.runner import PlanRunner, open_plan
from edgeprune.engine.trt.settings import BuildSettings, ShapeRange
from edgeprune.engine.trt.timing import time_queries
from edgeprune.measure.building import Asked, build_engine, look_over
from edgeprune.measure.gate import Device
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.engine import EngineReport

TITLE = "gpu: trt"
FIRST = ("resnet50", "resnet18", "mobilenet_v2", "vit_tiny")
BATCHES = (1, 32)
VARIANTS = (
    ("FP16", "float", True, False),
    ("pruned INT8", "pruned-int8", True, False),
    ("INT8", "int8", True, False),
    ("INT8 2:4", "int8-2to4", True, True),
    ("FP32", "float", False, False),
)
"""Name, bundle, FP16 remainder, sparse kernels; in the order of building."""
DECIDING = 2
"""Of these come first."""
SECONDS, PARTS_SECONDS, BLOCK, LEAST_ROUNDS = 2.0, 1.0, 25, 8
"""Of the product's timing; of energy, plain loop and comparison each. NVML's counter moves about every 100 ms."""
PLAIN_LOOP, TOLERATED = 0.03, 1.0


def engines(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """Build and measure every network in every variant and batch size, as far as the time goes."""
    names = [name for name in FIRST if (asked.bundles / f"{name}-float").is_dir()]
    if not names:
        raise SystemExit(f"{asked.bundles}: no bundles here. Run gpu.py trt-export first.")
    rows = [row for row in known_rows(asked) if "failed" not in row]
    end = time.monotonic() + 60 * asked.minutes
    done = {(row["network"], row["batch"], row["variant"]) for row in rows}
    for name in names:
        for batch, (label, *way) in _ways(asked.quick):
            if (name, batch, label) in done:
                continue
            if time.monotonic() > end:
                print(f"the time is over before {name}, batch {batch}, {label}", file=sys.stderr)
                return rows, _shows(rows)
            rows.append({"network": name, "batch": batch, "variant": label})
            _fill(rows[-1], asked.bundles / name, batch, way, asked.quick)
            print({key: value for key, value in rows[-1].items() if key != "layers"}, file=sys.stderr)
            if asked.json is not None:
                save(TITLE, rows, _shows(rows), asked.json)
    return rows, _shows(rows)


def _ways(quick: bool) -> list[tuple[int, tuple[str, str, bool, bool]]]:
    """Batch sizes and variants: the two that decide in all sizes, then the others."""
    batches = BATCHES[: 1 if quick else None]
    return [(batch, way) for part in (VARIANTS[:DECIDING], VARIANTS[DECIDING:]) for batch in batches for way in part]


def _fill(row: dict[str, Any], stem: Path, batch: int, way: list[Any], quick: bool) -> None:
    """Build, measure, and put into the row what is found; what goes wrong is put there too."""
    variant, fp16, sparse = way
    path, begin = stem.with_name(f"{stem.name}-{variant}"), time.monotonic()
    try:
        settings = _settings(batch, fp16, sparse)
        row |= _row(build_engine(path, settings, Asked(0.3 if quick else SECONDS, any_device=True)))
        with _opened(path, settings) as (runner, x):
            row |= _in_process(runner, x, 0.2 if quick else PARTS_SECONDS)
            if row["variant"] != "FP16":
                with _opened(stem.with_name(f"{stem.name}-float"), _settings(batch, True, False)) as (dense, _):
                    row |= _compared(runner, dense, x, 0.2 if quick else PARTS_SECONDS)
    except Exception as error:  # whatever it is, the other engines are still to come
        row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    row["row s"] = time.monotonic() - begin


def _settings(batch: int, fp16: bool, sparse: bool) -> BuildSettings:
    # cuBLAS and cuDNN are not packed with TensorRT 8.5; later releases do not need them.
    shape = ShapeRange(least=batch, best=batch, most=batch)
    return BuildSettings(batch=shape, fp16=fp16, sparse=sparse, outside_kernels=False)


def _row(report: EngineReport) -> dict[str, Any]:
    layers = report.layers
    share = report.int8_time_share
    return {
        "p50 ms": report.times.latency_ms.median,
        "p99 ms": report.times.latency_ms.p99,
        "compute ms": report.times.compute_ms.median,
        "images/s": report.times.throughput_per_s,
        "INT8 time %": None if share is None else 100 * share,
        "2:4": sum(bool(layer.eligible) for layer in layers),
        "2:4 used": sum(bool(layer.sparse) for layer in layers),
        "golden error": report.golden_worst,
        "plan MB": report.plan_bytes / 1e6,
        "engine": {
            "device": report.device,
            "TensorRT": report.tensorrt,
            "golden allowed": report.golden_tolerance,
            "CUDA graph": report.times.cuda_graph,
            "enqueue-bound": report.times.enqueue_bound,
            "unstable": report.times.unstable,
            "build s": report.build_seconds,
            "reformats": sum(layer.reformat for layer in layers),
        },
        "layers": {layer.name: [layer.layer, layer.kind, layer.precision, layer.tactic, layer.ms] for layer in layers},
    }


@cache
def _device() -> Device:
    return look_over()


@contextmanager
def _opened(path: Path, settings: BuildSettings) -> Iterator[tuple[PlanRunner, NDArray[np.float32]]]:
    """The engine that was built with some settings, and images for it."""
    bundle, device = open_bundle(path), _device()
    wanted = settings.model_copy(update={"int8": bundle.manifest.precision == "int8"})
    runner = open_plan(bundle.model, find_plan(bundle.model, device.gpu, device.release, wanted))
    x = np.random.default_rng(0).normal(size=(settings.batch.best, *bundle.manifest.input.shape))
    try:
        yield runner, x.astype(np.float32)
    finally:
        runner.close()


def _in_process(runner: PlanRunner, x: NDArray[np.float32], seconds: float) -> dict[str, Any]:
    """Memory that activations take, energy of calls, and how far a plain loop is from the product's own p50."""
    runner.run(x)
    named = ("device_memory_size_v2", "device_memory_size")  # the latter until 10.16
    memory = next((getattr(runner.engine, name) for name in named if hasattr(runner.engine, name)), None)
    product = time_queries(runner.lanes[0], x, seconds).compute_ms.median
    counter = _nvml()
    before = None if counter is None else counter()
    taken = _plain_loop(runner, x, seconds)
    millijoules = None if counter is None else (counter() - before) / (len(taken) * len(x))
    return {
        "activations MB": None if memory is None else memory / 1e6,
        "mJ/image": millijoules,
        "plain loop ms": float(np.median(taken)),
        "apart": abs(product / float(np.median(taken)) - 1),
    }


def _plain_loop(runner: PlanRunner, x: NDArray[np.float32], seconds: float, calls: int = BLOCK) -> list[float]:
    """Milliseconds of calls between two events, for some seconds and so many calls: a loop that anyone would write."""
    lane, cuda = runner.lanes[0], runner.cuda
    launch = lane.prepare(len(x))
    start, end = cuda.event(), cuda.event()
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < calls or time.perf_counter() - begin < seconds:
        cuda.record(start, lane.stream)
        launch()
        cuda.record(end, lane.stream)
        cuda.wait(lane.stream)
        taken.append(cuda.elapsed_ms(start, end))
    return taken


def _compared(runner: PlanRunner, dense: PlanRunner, x: NDArray[np.float32], seconds: float) -> dict[str, Any]:
    """Against dense FP16: the ratio of medians over blocks in turn, with its spread over blocks."""
    begin, ratios = time.perf_counter(), []
    while len(ratios) < LEAST_ROUNDS or time.perf_counter() - begin < seconds:
        one, other = (float(np.median(_plain_loop(each, x, 0))) for each in (runner, dense))
        ratios.append(one / other)
    low, middle, high = np.quantile(ratios[1:], (0.05, 0.5, 0.95))  # the first finds cold caches
    return {"/ FP16": float(middle), "/ FP16, 5 %": float(low), "/ FP16, 95 %": float(high)}


@cache
def _nvml() -> Any:
    """Reads the energy counter of the first GPU in millijoules; None where nvidia-ml-py or the counter is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except Exception:  # its faults have no class without the package
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(device)


def _shows(rows: list[dict[str, Any]]) -> list[Show]:
    shows = []
    for row in rows:
        if (row["network"], row["variant"]) == ("resnet50", "pruned INT8") and "/ FP16" in row:
            topic = f"ResNet-50, pruned and INT8 over dense FP16, batch {row['batch']}"
            shows.append(Show(topic, 2, row["/ FP16"], "below 1", row["/ FP16"] < TOLERATED))
    errors = [row["golden error"] / row["engine"]["golden allowed"] for row in rows if "engine" in row]
    if errors:
        shows.append(Show("golden outputs, worst of what is allowed", 2, max(errors), "at most 1", max(errors) <= 1))
    apart = [row["apart"] for row in rows if "apart" in row]
    if apart:
        shows.append(Show("p50 apart from a plain loop", 2, max(apart), "at most 3 %", max(apart) <= PLAIN_LOOP))
    return shows
