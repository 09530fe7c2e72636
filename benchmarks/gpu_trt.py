"""Engines of every bundle of `gpu_trt_export.py`: latency, memory, energy, precision and sparsity; without torch.

Two networks are compared by queries of both in turn, block after block, in one process. A plain loop of
execute_async_v3 between events is the slow twin of the product's own timing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import Show

from edgeprune.engine.trt.plans import Plan, find_plan
from edgeprune.engine.trt.runner import PlanRunner, open_plan
from edgeprune.engine.trt.settings import BuildSettings, ShapeRange
from edgeprune.engine.trt.timing import time_queries
from edgeprune.errors import EdgepruneError
from edgeprune.measure.building import Asked, build_engine, look_over
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.engine import EngineReport

SECONDS, ENERGY_SECONDS, ROUNDS, BLOCK = 3.0, 6.0, 40, 25
"""NVML's energy counter moves about every 100 ms."""
BATCHES = (1, 32)
VARIANTS = (
    ("FP32", "float", False, False),
    ("FP16", "float", True, False),
    ("INT8", "int8", True, False),
    ("INT8 2:4", "int8-2to4", True, True),
    ("pruned INT8", "pruned-int8", True, False),
)
"""Name, bundle, FP16 remainder, sparse kernels."""
PLAIN_LOOP, TOLERATED = 0.03, 1.0


def engines(folder: Path, quick: bool) -> tuple[list[dict[str, Any]], list[Show]]:
    """Build and measure every network in every variant and batch size; then the comparisons."""
    names = sorted({path.name.removesuffix("-float") for path in folder.glob("*-float")})
    if not names:
        raise SystemExit(f"{folder}: no bundles here. Run gpu.py trt-export first.")
    seconds = 0.3 if quick else SECONDS
    rows: list[dict[str, Any]] = []
    plain: list[float] = []
    for name in names:
        for batch in BATCHES[: 1 if quick else None]:
            built: dict[str, tuple[Path, BuildSettings]] = {}
            for label, variant, fp16, sparse in VARIANTS:
                shape = ShapeRange(least=batch, best=batch, most=batch)
                # cuBLAS and cuDNN are not packed with TensorRT 8.5; later releases do not need them.
                settings = BuildSettings(batch=shape, fp16=fp16, sparse=sparse, outside_kernels=False)
                path = folder / f"{name}-{variant}"
                try:
                    report = build_engine(path, settings, Asked(seconds, any_device=True))
                except EdgepruneError as error:
                    rows.append({"network": name, "batch": batch, "variant": label, "failed": str(error)})
                    print(rows[-1], file=sys.stderr)
                    continue
                built[label] = (path, settings)
                more, apart = _in_process(path, settings, report, ENERGY_SECONDS if not quick else 0.3)
                plain.append(apart)
                rows.append({"network": name, "batch": batch, "variant": label, **_row(report), **more})
                print({key: value for key, value in rows[-1].items() if key != "layers"}, file=sys.stderr)
            rows += _compared(name, batch, built)
    return rows, _shows(rows, plain)


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
            "enqueue-bound": report.times.enqueue_bound,
            "unstable": report.times.unstable,
            "build s": report.build_seconds,
            "reformats": sum(layer.reformat for layer in layers),
        },
        "layers": {layer.name: [layer.layer, layer.kind, layer.precision, layer.tactic, layer.ms] for layer in layers},
    }


def _opened(path: Path, settings: BuildSettings) -> tuple[PlanRunner, NDArray[np.float32]]:
    bundle, device = open_bundle(path), look_over()
    wanted = settings.model_copy(update={"int8": bundle.manifest.precision == "int8"})
    plan: Plan = find_plan(bundle.model, device.gpu, device.release, wanted)
    x = np.random.default_rng(0).normal(size=(settings.batch.best, *bundle.manifest.input.shape))
    return open_plan(bundle.model, plan), x.astype(np.float32)


def _in_process(
    path: Path, settings: BuildSettings, report: EngineReport, seconds: float
) -> tuple[dict[str, Any], float]:
    """Memory that activations take and energy of queries, and how far a plain loop is from the product's own p50."""
    runner, x = _opened(path, settings)
    nvml = _nvml()
    try:
        runner.run(x)
        named = ("device_memory_size_v2", "device_memory_size")  # the latter until 10.16
        memory = next((getattr(runner.engine, name) for name in named if hasattr(runner.engine, name)), None)
        before = _energy_mj(nvml)
        times = time_queries(runner.lanes[0], x, seconds)
        after = _energy_mj(nvml)
        millijoules = None if before is None or after is None else (after - before) / (times.queries * len(x))
        apart = abs(_plain_loop(runner, x) / report.times.compute_ms.median - 1)
    finally:
        runner.close()
    return {"activations MB": None if memory is None else memory / 1e6, "mJ/image": millijoules}, apart


def _plain_loop(runner: PlanRunner, x: NDArray[np.float32], calls: int = 500) -> float:
    """Median milliseconds of one call between two events: a loop that anyone would write."""
    lane, cuda = runner.lanes[0], runner.cuda
    launch = lane.prepare(len(x))
    taken = []
    for _ in range(calls):
        start, end = cuda.event(), cuda.event()
        cuda.record(start, lane.stream)
        launch()
        cuda.record(end, lane.stream)
        cuda.wait(lane.stream)
        taken.append(cuda.elapsed_ms(start, end))
    return float(np.median(taken[calls // 5 :]))


def _compared(name: str, batch: int, built: dict[str, tuple[Path, BuildSettings]]) -> list[dict[str, Any]]:
    """Every variant against dense FP16: the ratio of medians over blocks in turn, with its spread over blocks."""
    if "FP16" not in built:
        return []
    rows = []
    for label in built:
        if label == "FP16":
            continue
        ratios = _ratios(built[label], built["FP16"])
        low, middle, high = np.quantile(ratios, (0.05, 0.5, 0.95))
        rows.append({"network": name, "batch": batch, "variant": f"{label} / FP16", "ratio": float(middle),
                     "ratio 5 %": float(low), "ratio 95 %": float(high)})  # fmt: skip
    return rows


def _ratios(one: tuple[Path, BuildSettings], other: tuple[Path, BuildSettings]) -> NDArray[np.float64]:
    (first, x), (second, y) = _opened(*one), _opened(*other)
    try:
        found = [_block(first, x) / _block(second, y) for _ in range(ROUNDS)]
    finally:
        first.close()
        second.close()
    return np.array(found[ROUNDS // 10 :])


def _block(runner: PlanRunner, x: NDArray[np.float32]) -> float:
    return _plain_loop(runner, x, BLOCK)


def _nvml() -> Any:
    """The energy counter of the first GPU; None where nvidia-ml-py or the counter is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except Exception:  # its faults have no class without the package
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(device)


def _energy_mj(nvml: Any) -> float | None:
    return None if nvml is None else float(nvml())


def _shows(rows: list[dict[str, Any]], plain: list[float]) -> list[Show]:
    shows = []
    for batch in BATCHES:
        for row in rows:
            if (row["network"], row["batch"], row["variant"]) == ("resnet50", batch, "pruned INT8 / FP16"):
                topic = f"ResNet-50, pruned and INT8 over dense FP16, batch {batch}"
                shows.append(Show(topic, 2, row["ratio"], "below 1", row["ratio"] < TOLERATED))
    errors = [row["golden error"] / row["engine"]["golden allowed"] for row in rows if "engine" in row]
    if errors:
        shows.append(Show("golden outputs, worst of what is allowed", 2, max(errors), "at most 1", max(errors) <= 1))
    if plain:
        shows.append(Show("p50 apart from a plain loop", 2, max(plain), "at most 3 %", max(plain) <= PLAIN_LOOP))
    return shows
