"""Profile: what one device measured on one bundle."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeprune.spec.strict import Strict


class Latency(Strict):
    """Milliseconds per call at the given batch size; `*_ci` are 95 % bootstrap intervals."""

    p50: float
    p90: float
    p99: float | None
    """None below 500 calls: the sample does not carry it."""
    p50_ci: tuple[float, float]
    p90_ci: tuple[float, float]
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


class Memory(Strict):
    model_bytes: int
    peak_resident_bytes: int
    """Peak resident set of a fresh process that loads and runs the bundle, interpreter included."""
    added_resident_bytes: int
    """What loading and running the bundle added to it."""


class Power(Strict):
    """Watts, or the reason why there are none; never a guess."""

    measured: bool
    reason: str | None = None
    mean_w: float | None = None
    energy_per_inference_mj: float | None = None


class Machine(Strict):
    """Which machine it was, and in which state."""

    device: str
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    cpu_flags: list[str]
    """Of the flags that decide INT8 kernels, those that are there."""
    governor: str | None
    matches_target: bool
    mismatch: str | None
    """What sets this machine apart from the bundle's target."""


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
