"""Machine: which device was measured, and in which state it was."""

from __future__ import annotations

from pydantic import Field

from edgeprune.spec.strict import Strict


class PowerMode(Strict):
    """A Jetson's mode of nvpmodel; ids differ by board and image, so both are read from its own configuration."""

    id: int
    name: str


class Span(Strict):
    """What a value that was read along with the timed calls began with, and between what it moved."""

    first: float
    lowest: float
    highest: float


class Conditions(Strict):
    """What was read along with the timed calls."""

    readings: int
    clocks_mhz: dict[str, Span]
    """By name (`cpu0`, `gpu`)."""
    temperatures_c: dict[str, Span]
    throttled: list[str]
    """What slowed the machine down meanwhile, in words."""
    waited_share: float | None = None
    """Of the time, how much the calls' threads waited because other processes had the processor."""


class Machine(Strict):
    """Which machine it was, and in which state. None: the machine does not tell."""

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
    warnings: tuple[str, ...] = ()
    """What may make it slower than the target can be: governors, power mode, releases."""
    gpus: tuple[str, ...] = ()
    compute_capability: str | None = None
    module: str | None = None
    """A Jetson's, as its device tree has it: `p3767-0005`."""
    soc: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    power_mode: PowerMode | None = None
    clocks_locked: bool | None = None
    """Whether every clock's lowest allowed rate is its highest, as after jetson_clocks."""
    gpu_governor: str | None = None
    affinity: tuple[int, ...] = ()
    """The logical CPUs that the process might use."""
    runtime_settings: dict[str, str] = Field(default_factory=dict)
    """Threads, arena and the like, as the runtime was given them."""
    conditions: Conditions | None = None
