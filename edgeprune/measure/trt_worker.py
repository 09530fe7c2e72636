"""The process that works with TensorRT: builds an engine, checks its answers, times it, and reads it back.

Started by `building.py` as `python -m edgeprune.measure.trt_worker REQUEST`, after a CUDA device was found; a crash of
TensorRT ends this process and not the command.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.ort_layers import NodeTime
from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.layers import int8_share
from edgeprune.engine.trt.load import load_tensorrt
from edgeprune.engine.trt.make import Making, make_plan
from edgeprune.engine.trt.plans import Plan, find_plan
from edgeprune.engine.trt.progress_lines import answer_line, fault_line, tell_line, tick_line
from edgeprune.engine.trt.release import parse_release
from edgeprune.engine.trt.runner import PlanRunner, open_plan
from edgeprune.engine.trt.timing import streams_per_s, time_queries
from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import check_golden, load_golden
from edgeprune.measure.trt_request import BuildRequest
from edgeprune.spec.bundle import Bundle, file_sum, open_bundle
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
    except Exception:  # it ends as a crash does, but with its own words
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stderr.flush()
    os._exit(0)


def work(request: BuildRequest) -> EngineReport:
    """Build or find the plan, then check, time and inspect it.

    Raises:
        EdgepruneError: TensorRT refuses, or its answers are not the bundle's.
    """
    bundle = open_bundle(Path(request.bundle))
    plan = _known_plan(request, bundle) or _built_plan(request, bundle)
    runner = open_plan(bundle.model, plan, request.streams)
    try:
        return _measured(request, bundle, runner)
    finally:
        runner.close()


def _known_plan(request: BuildRequest, bundle: Bundle) -> Plan | None:
    if request.rebuild:
        return None
    gpu = first_gpu()
    assert isinstance(gpu, Gpu), "the parent has found one"
    try:
        plan = find_plan(bundle.model, gpu, parse_release(load_tensorrt().__version__), request.settings)
    except EdgepruneError:
        return None
    tell_line(f"taken: {plan.path}, built {plan.record.built}; --rebuild builds it again")
    return plan


def _built_plan(request: BuildRequest, bundle: Bundle) -> Plan:
    making = Making(bundle.model, request.settings, Path(request.timing_cache), Path(request.log))
    return make_plan(making, tick_line, tell_line)


@dataclass(frozen=True)
class OneByOne:
    """A runner that takes single images also where the engine wants more: the rest of the batch is copies."""

    runner: PlanRunner
    threads: int = 1
    simulated: bool = False
    on_gpu: bool = True

    @property
    def runtime(self) -> str:
        return self.runner.runtime

    @property
    def settings(self) -> dict[str, str]:
        return self.runner.settings

    def layer_times(self, x: NDArray[np.float32], calls: int) -> list[NodeTime]:
        return self.runner.layer_times(x, calls)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        least = self.runner.lanes[0].ends.least
        return self.runner.run(np.repeat(x, least, axis=0) if len(x) < least else x)[: len(x)]


def _checked(bundle: Bundle, runner: PlanRunner) -> GoldenResult:
    """Compare the golden outputs; an engine that answers otherwise is not left behind.

    Raises:
        EdgepruneError: they differ; half precision may be why, so the text says how to do without.
    """
    try:
        return check_golden(bundle, OneByOne(runner))
    except EdgepruneError as error:
        runner.plan.remove()
        half = " Or build with --no-fp16." if runner.plan.record.settings.fp16 else ""
        raise EdgepruneError(f"{error}{half}") from None


def _measured(request: BuildRequest, bundle: Bundle, runner: PlanRunner) -> EngineReport:
    tick_line("checking golden outputs", 0, 1)
    golden = _checked(bundle, runner)
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
