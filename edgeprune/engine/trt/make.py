"""make_plan: an ONNX file's plan, built on this device and written with its record."""

from __future__ import annotations

import datetime
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from edgeprune.engine.trt.build import build_plan, prepare_onnx
from edgeprune.engine.trt.build_log import read_sparsity
from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.load import load_tensorrt
from edgeprune.engine.trt.log import logger_for, open_log
from edgeprune.engine.trt.plans import Plan, PlanRecord, plan_path, write_plan
from edgeprune.engine.trt.release import parse_release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.engine.trt.timing_cache import cache_key, load_cache, save_cache
from edgeprune.errors import EdgepruneError
from edgeprune.progress import Tell, Tick, silent, untold
from edgeprune.spec.bundle import FileSum, file_sum


@dataclass(frozen=True)
class Making:
    """What to build, and where its by-products go; None: nowhere."""

    model: Path
    settings: BuildSettings
    timing_cache: Path | None = None
    log: Path | None = None


def make_plan(making: Making, tick: Tick = silent, tell: Tell = untold) -> Plan:
    """Build in this process; the plan lies beside the model, under `engines/`.

    Raises:
        EdgepruneError: there is no device, or TensorRT refuses.
    """
    gpu = first_gpu()
    if not isinstance(gpu, Gpu):
        raise EdgepruneError(f"no CUDA device: {gpu}. Build on the device that will run the engine.")
    trt = load_tensorrt()
    release, settings, cache = parse_release(trt.__version__), making.settings, making.timing_cache
    key, log = cache_key(release, gpu), open_log(making.log)
    logger = logger_for(trt, log)
    model = prepare_onnx(making.model, release, settings)
    start = time.perf_counter()
    known = load_cache(cache, key, tell)
    content, measured = build_plan(trt, logger, log, model, settings, release, known, tick)
    seconds = time.perf_counter() - start
    if measured and cache is not None:
        save_cache(cache, measured, key)
    sparsity = read_sparsity(text for _, text in log.lines)
    record = PlanRecord(
        built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=seconds,
        model_sha256=file_sum(making.model).sha256,
        device=gpu.name,
        capability=gpu.capability,
        multiprocessors=gpu.multiprocessors,
        tensorrt=str(release),
        settings=settings,
        plan=FileSum(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
        eligible=None if sparsity is None else sparsity.eligible,
        picked=None if sparsity is None else sparsity.picked,
    )
    return write_plan(plan_path(making.model, gpu, release, settings), content, record)
