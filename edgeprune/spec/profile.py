"""Profile: what one device measured on one bundle."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeprune.spec.layer_costs import LayerCosts, LayerShape
from edgeprune.spec.machine import Machine
from edgeprune.spec.power import Interval, Power
from edgeprune.spec.strict import Strict

BETWEEN = "between nodes"
"""The row of layer times that is no node's."""


class Latency(Strict):
    """Milliseconds per call at the given batch size; `*_ci` are 95 % bootstrap intervals."""

    p50: float
    p90: float
    p95: float | None = None
    p99: float | None
    """None below 500 calls: the sample does not carry it."""
    p50_ci: tuple[float, float]
    p90_ci: tuple[float, float]
    p95_ci: tuple[float, float] | None = None
    p99_ci: tuple[float, float] | None
    mean: float
    minimum: float
    count: int
    warm_up: int
    settled: bool
    """Whether the warm-up ended with its median steady, and not because its time ran out."""
    batch: int
    throughput_per_s: float
    """Images per second of wall time."""
    streams: int = 1
    """Callers at the same time, each waiting for its own call."""


class Memory(Strict):
    """Of a fresh process that loads the bundle and runs it. None: this machine or runtime does not tell."""

    model_bytes: int
    peak_resident_bytes: int
    """Peak resident set, interpreter included."""
    added_resident_bytes: int
    """What loading and running the bundle added to it."""
    private_bytes: int | None = None
    """Pages that no other process shares, the most that was seen."""
    arena_bytes: int | None = None
    """What the runtime's own allocator had taken for activations and scratch, by its own account."""
    gpu_bytes: int | None = None
    gpu_from: str | None = None
    """What `gpu_bytes` is: the driver's account of the process, or the growth of what the GPU has in use."""
    unified_bytes: int | None = None
    """On a device whose CPU and GPU share their memory: by how much the memory left went down."""


class Ratio(Strict):
    """A network's latency over another's, both timed in turn on the same machine."""

    against: str
    against_model_sha256: str
    ratio: Interval
    """Of the medians; below 1 the first is faster."""
    pairs: int
    """Blocks of calls that were compared."""
    loads: int
    """How often both were loaded anew: where their memory lies moves a network's speed."""
    p50: float
    against_p50: float


class DeviceAccuracy(Strict):
    """Of the shipped file on this machine, from image files on; the error is one binomial standard error."""

    value: float
    standard_error: float
    count: int
    skipped: int
    """Files that could not be read."""
    data: str
    """The folder's name, and the sha256 of its files' names and sizes."""
    data_sha256: str


class GoldenResult(Strict):
    """The worst relative L2 distance to the expected outputs, and the limit it had to keep."""

    checked: int
    worst: float
    tolerance: float
    same_class: int


class LayerTime(Strict):
    """Milliseconds per image of one node, which has its layer's name where it has weights."""

    name: str
    ms: float = Field(ge=0)
    op: str | None = None
    """The runtime's operators that it became."""
    int8: bool | None = None
    """Whether its inputs were bytes."""
    shape: LayerShape | None = None
    """Where it is a layer with weights that the bundle describes."""


class Profile(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    date: str
    edgeprune_version: str
    bundle_sha256: str
    model_sha256: str
    name: str
    target: str
    precision: str
    runtime: str
    versions: dict[str, str]
    machine: Machine
    golden: GoldenResult
    latency_ms: Latency
    memory: Memory
    power: Power
    macs: int
    params: int
    int8_macs_share: float | None
    accuracy: float | None
    accuracy_se: float | None
    recipe: dict[str, Any]
    layers: tuple[LayerTime, ...] | None = None
    """They add up to the median call; None where the runtime tells only the whole."""
    loads: tuple[Latency, ...] = ()
    """The other batch sizes and numbers of streams that were asked for."""
    ratio: Ratio | None = None
    measured_accuracy: DeviceAccuracy | None = None
    predicted_ms: float | None = None
    """What the budget's cost model had said."""
    predicted_from: str | None = None
    layer_costs: LayerCosts | None = None
