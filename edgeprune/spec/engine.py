"""What is known of a built engine: its times by trtexec's definitions, and what became of each layer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.spec.strict import Strict

Precision = Literal["int8", "fp16", "bf16", "fp8", "fp32", "other", "unknown"]


class Spread(Strict):
    """Milliseconds; percentiles are values that occurred."""

    least: float
    most: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float


class QueryTimes(Strict):
    """Latency is the copy to the device, the compute and the copy back, of one query."""

    latency_ms: Spread
    copy_in_ms: Spread
    compute_ms: Spread
    copy_out_ms: Spread
    enqueue_ms: Spread
    """What the CPU took to hand the work over."""
    queries: int
    batch: int
    throughput_per_s: float
    """Images per second of wall time, one query after the other."""
    cuda_graph: bool
    enqueue_bound: bool
    """The GPU waits for the CPU, so that compute times say more than latencies."""
    unstable: bool
    """Compute times vary by more than 2.5 %: clocks that are not locked, or another program."""


class EngineLayer(Strict):
    """One layer of an engine, which TensorRT may have made of many."""

    name: str
    """As TensorRT calls it."""
    layer: str
    """The node of the ONNX graph that it stands for: the one with weights, else the first."""
    nodes: list[str]
    kind: str
    precision: Precision
    """Of what it computes, by its weights, else its kernel, else its inputs."""
    tactic: str
    reformat: bool
    """It only changes types or layouts."""
    eligible: bool | None
    """Its weights are 2:4; None where the build log does not say."""
    sparse: bool | None
    """A sparse kernel was picked."""
    ms: float | None = Field(default=None, ge=0)
    """By TensorRT's profiler; None where it was not asked."""


class EngineReport(Strict):
    """An engine, measured and read back."""

    plan: str
    device: str
    tensorrt: str
    target: str
    notes: list[str]
    """What sets this device apart from the target, and what TensorRT could not do."""
    plan_bytes: int
    build_seconds: float
    golden_worst: float
    golden_tolerance: float
    times: QueryTimes
    streams: int = 1
    streams_throughput_per_s: float | None = None
    """Images per second with several streams at the same time; None for one."""
    layers: list[EngineLayer]
    other_ms: float
    """Profiled time that belongs to no layer of the inspector."""
    int8_time_share: float | None
    """Of the profiled time; None where nothing was profiled."""
    trtexec: QueryTimes | None = None
    """The same engine under trtexec, if that was asked for."""
