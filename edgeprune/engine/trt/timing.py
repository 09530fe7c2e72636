"""Latency of an engine as trtexec defines it, by CUDA events around every part of every query.

Latency = copy to the device + compute + copy back, of one query. Percentiles are values that occurred, not
interpolated ones. Queries that leave the GPU waiting for the CPU are told apart: there a smaller network gains nothing.
Definitions: NVIDIA/TensorRT, samples/common/sampleReporting.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.trt.lane import Lane
from edgeprune.engine.trt.runner import PlanRunner
from edgeprune.progress import Tick, silent
from edgeprune.spec.engine import QueryTimes, Spread

WARM_UP_S, LEAST_QUERIES = 0.2, 10
"""trtexec's defaults."""
ENQUEUE_BOUND, UNSTABLE = 0.8, 0.025
"""Its warnings: median enqueue over median compute; coefficient of variation of compute."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Query:
    """Milliseconds of one query: on the device's clock, but `enqueue`, which is the CPU's."""

    copy_in: float
    compute: float
    copy_out: float
    enqueue: float


def time_queries(
    lane: Lane,
    x: NDArray[np.float32],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> QueryTimes:
    """Time queries on one stream, one after the other, for some seconds after the warm-up."""
    lane.ends.check(x.shape)
    launch = lane.prepare(len(x))
    host_in, host_out = lane.host_in[: len(x)], lane.host_out[: len(x)]
    np.copyto(host_in, x)
    cuda, stream = lane.cuda, lane.stream
    marks = [cuda.event() for _ in range(4)]

    def query() -> Query:
        cuda.record(marks[0], stream)
        cuda.copy_in(lane.device_in, host_in, stream)
        cuda.record(marks[1], stream)
        begun = clock()
        launch()
        enqueue = 1000 * (clock() - begun)
        cuda.record(marks[2], stream)
        cuda.copy_out(host_out, lane.device_out, stream)
        cuda.record(marks[3], stream)
        cuda.wait(stream)
        copy_in, compute, copy_out = (cuda.elapsed_ms(a, b) for a, b in itertools.pairwise(marks))
        return Query(copy_in, compute, copy_out, enqueue)

    start = clock()
    while clock() - start < WARM_UP_S:
        query()
    found: list[Query] = []
    start, told = clock(), -1
    while (spent := clock() - start) < seconds or len(found) < LEAST_QUERIES:
        percent = min(100, int(100 * spent / seconds))
        if percent > told:  # not at every query: telling takes as long as a small network does
            tick("timing queries", percent, 100)
            told = percent
        found.append(query())
    return summary(found, len(x), spent, lane.graphs)


def streams_per_s(
    runner: PlanRunner, x: NDArray[np.float32], seconds: float, clock: Clock = time.perf_counter
) -> float:
    """Images per second with all streams of a runner kept busy, copies included."""
    rounds = 4 * len(runner.lanes)
    for _ in runner.run_many([x] * rounds):  # the first calls allocate and record
        pass
    start, images = clock(), 0
    while clock() - start < seconds:
        images += sum(len(y) for y in runner.run_many([x] * rounds))
    return images / (clock() - start)


def summary(queries: list[Query], batch: int, seconds: float, graph: bool) -> QueryTimes:
    """What trtexec prints of a run."""
    columns = {name: np.array([getattr(query, name) for query in queries]) for name in Query.__annotations__}
    latency = columns["copy_in"] + columns["compute"] + columns["copy_out"]
    compute = columns["compute"]
    bound = float(np.median(columns["enqueue"])) > ENQUEUE_BOUND * float(np.median(compute))
    return QueryTimes(
        latency_ms=spread(latency),
        copy_in_ms=spread(columns["copy_in"]),
        compute_ms=spread(compute),
        copy_out_ms=spread(columns["copy_out"]),
        enqueue_ms=spread(columns["enqueue"]),
        queries=len(queries),
        batch=batch,
        throughput_per_s=batch * len(queries) / seconds,
        cuda_graph=graph,
        enqueue_bound=bound,
        unstable=bool(compute.std() > UNSTABLE * compute.mean()),
    )


def spread(values: NDArray[np.float64]) -> Spread:
    """Least, largest, mean, median and percentiles of some milliseconds."""
    ordered = np.sort(values)
    return Spread(
        least=float(ordered[0]),
        most=float(ordered[-1]),
        mean=float(ordered.mean()),
        median=float(np.median(ordered)),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
    )


def percentile(ordered: NDArray[np.float64], share: float) -> float:
    """The value that a share (percent) of sorted values does not exceed, as trtexec picks it: in single precision."""
    beyond = int((np.float32(1) - np.float32(share) / np.float32(100)) * np.float32(len(ordered)))
    return float(ordered[max(len(ordered) - 1 - beyond, 0)])
