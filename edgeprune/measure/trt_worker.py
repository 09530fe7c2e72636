"""The process that works with TensorRT: builds an engine, checks its answers, times it, and reads it back.

Started by `building.py` as `python -m edgeprune.measure.trt_worker REQUEST`, after a CUDA device was found; a crash of
TensorRT ends this process and not the command.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.trt.build import build_plan, prepare_onnx
from edgeprune.engine.trt.build_log import read_sparsity
from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.layers import int8_share
from edgeprune.engine.trt.load import load_tensorrt
from edgeprune.engine.trt.log import logger_for, open_log
from edgeprune.engine.trt.plans import Plan, PlanRecord, find_plan, plan_path, write_plan
from edgeprune.engine.trt.progress_lines import answer_line, fault_line, tell_line, tick_line
from edgeprune.engine.trt.release import Release, parse_release
from edgeprune.engine.trt.runner import PlanRunner, open_plan
from edgeprune.engine.trt.timing import streams_per_s, time_queries
from edgeprune.engine.trt.timing_cache import cache_key, load_cache, save_cache
from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import check_golden, load_golden
from edgeprune.measure.trt_request import BuildRequest
from edgeprune.spec.bundle import MODEL, Bundle, FileSum, file_sum, open_bundle
from edgeprune.spec.engine import EngineReport
from edgeprune.spec.profile import GoldenResult
from edgeprune.spec.strict import read_json

LAYER_CALLS = 50


def main() -> None:
    """Do what the request file asks; ends without Python's own clean-up, in which TensorRT's objects would crash."""
    try:
        answer_line(work(read_json(BuildRequest, Path(sys.argv[1]))).model_dump(mode="json"))
    except EdgepruneError as error:
        fault_line(str(error))
    sys.stderr.flush()
    os._exit(0)


def work(request: BuildRequest) -> EngineReport:
    """Build or find the plan, then check, time and inspect it.

    Raises:
        EdgepruneError: TensorRT refuses, or its answers are not the bundle's.
    """
    bundle = open_bundle(Path(request.bundle))
    gpu = first_gpu()
    assert isinstance(gpu, Gpu), "the parent has found one"
    trt = load_tensorrt()
    release = parse_release(trt.__version__)
    plan = _known_plan(request, bundle, gpu, release) or _built_plan(request, bundle, gpu, trt, release)
    runner = open_plan(bundle.model, plan, request.streams)
    try:
        return _measured(request, bundle, runner)
    finally:
        runner.close()


def _known_plan(request: BuildRequest, bundle: Bundle, gpu: Gpu, release: Release) -> Plan | None:
    if request.rebuild:
        return None
    try:
        plan = find_plan(bundle.model, gpu, release, request.settings)
    except EdgepruneError:
        return None
    tell_line(f"taken: {plan.path}, built {plan.record.built}; --rebuild builds it again")
    return plan


def _built_plan(request: BuildRequest, bundle: Bundle, gpu: Gpu, trt: Any, release: Release) -> Plan:
    settings, cache = request.settings, Path(request.timing_cache)
    key = cache_key(release, gpu)
    log = open_log(Path(request.log))
    logger = logger_for(trt, log)
    model = prepare_onnx(bundle.model, release, settings)
    start = time.perf_counter()
    known = load_cache(cache, key, tell_line)
    content, measured = build_plan(trt, logger, log, model, settings, release, known, tick_line)
    seconds = time.perf_counter() - start
    if measured:
        save_cache(cache, measured, key)
    path = plan_path(bundle.model, gpu, release, settings)
    sparsity = read_sparsity(text for _, text in log.lines)
    record = PlanRecord(
        built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=seconds,
        model_sha256=bundle.manifest.files[MODEL].sha256,
        device=gpu.name,
        capability=gpu.capability,
        tensorrt=str(release),
        settings=settings,
        plan=FileSum(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
        eligible=None if sparsity is None else sparsity.eligible,
        picked=None if sparsity is None else sparsity.picked,
    )
    return write_plan(path, content, record)


@dataclass(frozen=True)
class OneByOne:
    """A runner that takes single images also where the engine wants more: the rest of the batch is copies."""

    runner: PlanRunner
    threads: int = 1
    simulated: bool = False

    @property
    def runtime(self) -> str:
        return self.runner.runtime

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        least = self.runner.lanes[0].ends.least
        return self.runner.run(np.repeat(x, least, axis=0) if len(x) < least else x)[: len(x)]


def _measured(request: BuildRequest, bundle: Bundle, runner: PlanRunner) -> EngineReport:
    tick_line("checking golden outputs", 0, 1)
    golden: GoldenResult = check_golden(bundle, OneByOne(runner))
    tick_line("checking golden outputs", 1, 1)
    record, settings = runner.plan.record, request.settings
    x = np.resize(load_golden(bundle).input, (settings.batch.best, *bundle.manifest.input.shape))
    times = time_queries(runner.lanes[0], x, request.seconds, tick_line)
    tick_line("timing layers", 0, 1)
    layers, other = runner.layers(x, LAYER_CALLS)
    tick_line("timing layers", 1, 1)
    return EngineReport(
        plan=str(runner.plan.path),
        device=record.device,
        tensorrt=record.tensorrt,
        target=bundle.manifest.target,
        notes=request.notes,
        plan_bytes=file_sum(runner.plan.path).bytes,
        build_seconds=record.seconds,
        golden_worst=golden.worst,
        golden_tolerance=golden.tolerance,
        times=times,
        streams=request.streams,
        streams_throughput_per_s=streams_per_s(runner, x, request.seconds) if request.streams > 1 else None,
        layers=layers,
        other_ms=other,
        int8_time_share=int8_share(layers, other),
    )


if __name__ == "__main__":
    main()
