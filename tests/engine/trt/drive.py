"""Builds, loads, runs and reads back engines in every way that releases allow; run on the fakes by test_api.py.

    python drive.py MODEL FOLDER RELEASE...

What a release was asked for is written to FOLDER/RELEASE.
"""

import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.engine.trt.build import build_plan, prepare_onnx
from edgeprune.engine.trt.driver import first_gpu
from edgeprune.engine.trt.log import logger_for, open_log
from edgeprune.engine.trt.plans import PlanRecord, write_plan
from edgeprune.engine.trt.release import Release, parse_release
from edgeprune.engine.trt.runner import open_plan
from edgeprune.engine.trt.settings import BuildSettings, ShapeRange
from edgeprune.engine.trt.timing import streams_per_s, time_queries
from edgeprune.progress import silent
from edgeprune.spec.bundle import FileSum
from tests.engine.trt.network import half_limit


class Ticks:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, *tick: Any) -> None:
        self.told.append(tick)


def ways(release: Release) -> list[BuildSettings]:
    found = [
        BuildSettings(),
        BuildSettings(sparse=True, batch=ShapeRange(least=1, best=2, most=4), workspace_mb=64, outside_kernels=False),
        BuildSettings(fp16=False),
    ]
    found += [BuildSettings(version_compatible=True)] if release.short >= (8, 6) else []
    found += [BuildSettings(strip_weights=True)] if release.short >= (10, 0) else []
    return found


def drive(model: Path, folder: Path) -> None:
    """With the tensorrt package that is imported at this moment."""
    import tensorrt as trt

    release, gpu = parse_release(trt.__version__), first_gpu()
    cache, answers = b"", []
    for index, settings in enumerate(ways(release)):
        log = open_log()
        onnx = prepare_onnx(model, release, settings)
        content, cache = build_plan(trt, logger_for(trt, log), log, onnx, settings, release, cache, silent)
        record = PlanRecord(
            built="now",
            seconds=0,
            model_sha256="",
            device=gpu.name,
            capability=gpu.capability,
            multiprocessors=gpu.multiprocessors,
            tensorrt=str(release),
            settings=settings,
            plan=FileSum(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
        )
        plan = write_plan(folder / f"{release}-{index}.plan", content, record)
        several = settings.batch.fixed or release.major >= 10
        runner = open_plan(model, plan, streams=2 if several else 1)
        x = np.random.default_rng(0).normal(size=(settings.batch.best, 3, 12, 12)).astype(np.float32)
        answers.append(runner.run(x)[0])
        assert all(np.array_equal(y, runner.run(x)) for y in runner.run_many([x] * 5))
        assert runner.lanes[0].graphs
        ticks = Ticks()
        assert time_queries(runner.lanes[0], x, 0.01, ticks).queries >= 10
        assert len(ticks.told) == len(set(ticks.told))  # telling takes time of its own
        assert streams_per_s(runner, x, 0.01) > 0
        layers, other = runner.layers(x, 2)
        assert sum(layer.ms for layer in layers) > other > 0
        assert np.array_equal(runner.run(x)[0], answers[-1])  # in TensorRT 8 the profiler watches the same context
        runner.close()
    for answer in answers[1:]:  # half precision moves a few codes
        assert np.linalg.norm(answer - answers[0]) <= half_limit() * np.linalg.norm(answers[0])


if __name__ == "__main__":
    model, folder, *releases = sys.argv[1:]
    for each in releases:
        os.environ |= {"FAKE_TENSORRT": each, "FAKE_TENSORRT_USED": str(Path(folder) / each)}
        sys.modules.pop("tensorrt", None)
        importlib.invalidate_caches()
        drive(Path(model), Path(folder))
