"""PlanRunner: an engine behind the same face as ONNX Runtime's (`engine.runner.Runner`)."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.ort_layers import NodeTime
from edgeprune.engine.trt.cuda import Cuda
from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.engine import load_engine
from edgeprune.engine.trt.inspector import read_inspection
from edgeprune.engine.trt.lane import Lane, read_ends
from edgeprune.engine.trt.layers import engine_layers, graph_nodes
from edgeprune.engine.trt.load import load_tensorrt
from edgeprune.engine.trt.log import BuildLog, logger_for, open_log
from edgeprune.engine.trt.open_cuda import open_cuda
from edgeprune.engine.trt.plans import Plan, find_plan
from edgeprune.engine.trt.release import parse_release
from edgeprune.errors import EdgepruneError
from edgeprune.spec.engine import EngineLayer

OTHER = "other"
"""Profiled time that belongs to no layer of the inspector."""


@dataclass
class PlanRunner:
    """A loaded engine with one input and one output."""

    trt: Any
    logger: Any
    cuda: Cuda
    engine: Any
    model: Path
    """The ONNX file that it was built from."""
    plan: Plan
    gpu: Gpu
    lanes: list[Lane]
    log: BuildLog
    one_context: bool = False
    """TensorRT 8 lends a range of shapes to one context at a time."""
    threads: int = 1
    simulated: bool = False
    on_gpu: bool = True

    @property
    def runtime(self) -> str:
        return f"TensorRT {self.plan.record.tensorrt} ({self.gpu.name})"

    @property
    def settings(self) -> dict[str, str]:
        """What the engine was built with, and how it is run."""
        built = {name: str(value) for name, value in self.plan.record.settings}
        return {**built, "cuda": self.cuda.package, "cuda_graph": str(self.lanes[0].graphs)}

    def __post_init__(self) -> None:
        self.free: SimpleQueue[Lane] = SimpleQueue()
        for lane in self.lanes:
            self.free.put(lane)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run a batch, [N, ...] to [N, ...]: copies to the device and back included.

        Threads may call it at the same time; each waits for a stream of its own.

        Raises:
            EdgepruneError: the engine was not built for that shape.
        """
        self.lanes[0].ends.check(x.shape)
        lane = self.free.get()
        try:
            with self.cuda.current():
                lane.begin(x)
                return lane.end()
        finally:
            self.free.put(lane)

    def run_many(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Run batches on all streams in turn; the answers come in order."""
        busy: list[Lane] = []
        for index, x in enumerate(batches):
            lane = self.lanes[index % len(self.lanes)]
            lane.ends.check(x.shape)
            if len(busy) == len(self.lanes):
                yield busy.pop(0).end()
            lane.begin(x)
            busy.append(lane)
        for lane in busy:
            yield lane.end()

    def layer_ms(self, x: NDArray[np.float32], calls: int) -> dict[str, float]:
        """Least milliseconds of each layer of the engine over some calls, by TensorRT's own profiler.

        Without a graph, which would hide them.

        Raises:
            EdgepruneError: there is no memory for a context of its own.
        """
        times: dict[str, list[float]] = {}

        class Profiler(self.trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self, trt: Any) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(ms)

        profiler = Profiler(self.trt)
        lane = self._profiled_lane()
        graphs, lane.graphs = lane.graphs, False
        lane.context.profiler = profiler
        for _ in range(calls + 1):  # the first allocates
            lane.begin(x)
            lane.end()
        lane.context.profiler, lane.graphs = None, graphs
        return {name: min(taken[1:] or taken) for name, taken in times.items()}

    def _profiled_lane(self) -> Lane:
        """A context of its own, since the profiler slows what it watches; TensorRT 8 has one per range of shapes."""
        if self.one_context:
            return self.lanes[0]
        context = self.engine.create_execution_context()
        if context is None:
            raise EdgepruneError(f"no memory to profile the engine on {self.gpu.name}: {self.log.last_fault}.")
        return Lane(self.cuda, context, self.lanes[0].ends, self.cuda.stream(), self.log)

    def layers(self, x: NDArray[np.float32], calls: int) -> tuple[list[EngineLayer], float]:
        """What became of each layer, with its milliseconds in a call on `x`; and the time that is nobody's."""
        record, nodes = self.plan.record, graph_nodes(self.model)
        inspected = read_inspection(self.information())
        return engine_layers(inspected, nodes, self.layer_ms(x, calls), record.eligible, record.picked)

    def layer_times(self, x: NDArray[np.float32], calls: int) -> list[NodeTime]:
        """The same in the words that all runtimes share."""
        layers, other = self.layers(x, calls)
        rows = [NodeTime(layer.layer, layer.ms or 0.0, layer.kind, _is_int8(layer)) for layer in layers]
        return [*rows, NodeTime(OTHER, other)] if other else rows

    def information(self) -> str:
        """The engine inspector's JSON, for the shape of the last call."""
        inspector = self.engine.create_engine_inspector()
        inspector.execution_context = self.lanes[0].context  # else types are unknown where shapes may vary
        return str(inspector.get_engine_information(self.trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Give the device back: contexts first, then the engine, then CUDA's own; a second time does nothing."""
        self.lanes.clear()
        self.free = SimpleQueue()
        self.engine = None
        self.cuda.close()


def _is_int8(layer: EngineLayer) -> bool | None:
    return None if layer.precision == "unknown" else layer.precision == "int8"


def open_plan(model: Path, plan: Plan | None = None, streams: int = 1, graphs: bool = True) -> PlanRunner:
    """Load a model's engine: a given one, or the newest that was built for this device and TensorRT.

    Raises:
        EdgepruneError: no device, no TensorRT, no engine for them, or a damaged one.
    """
    gpu = first_gpu()  # before TensorRT: without a device its runtime ends in a segmentation fault
    if isinstance(gpu, str):
        raise EdgepruneError(f"no CUDA device: {gpu}. Run it on the device that it is for.")
    trt = load_tensorrt()
    release = parse_release(trt.__version__)
    plan = plan or find_plan(model, gpu, release)
    cuda, log = open_cuda(), open_log()
    logger = logger_for(trt, log)
    engine = load_engine(trt, logger, log, plan, model, release)
    ends = read_ends(trt, engine)
    one_context = ends.dynamic and release.major < 10
    if streams > 1 and one_context:
        raise EdgepruneError(f"TensorRT {release} runs several streams of one shape only. Build with --shape-range N.")
    contexts = [engine.create_execution_context() for _ in range(streams)]
    if any(context is None for context in contexts):
        raise EdgepruneError(f"no memory for {streams} stream(s) on {gpu.name}: {log.fault}. Use fewer, or less batch.")
    lanes = [Lane(cuda, context, ends, cuda.stream(), log, graphs) for context in contexts]
    runner = PlanRunner(trt, logger, cuda, engine, model, plan, gpu, lanes, log, one_context)
    atexit.register(runner.close)  # while CUDA is still there: pycuda aborts a process that leaves it open
    return runner
