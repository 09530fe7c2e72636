"""Clocks, temperatures and throttling: how a machine stands, and what was read of it along a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.measure.facts import natural, number, text
from edgeprune.spec.machine import Conditions, Span

CPUS = "sys/devices/system/cpu"
KHZ_PER_MHZ, HZ_PER_MHZ, MILLI = 1e3, 1e6, 1e3
GPU_NAMES = ("gpu", "gv11b", "ga10b", "gb10b")
"""How the device of a Jetson's GPU is called under /sys/class/devfreq."""


@dataclass(frozen=True)
class Clocks:
    """Governors and bounds. None: the machine does not tell."""

    governor: str | None
    gpu_governor: str | None
    locked: bool | None
    """Whether every clock's lowest allowed rate is its highest."""


def read_clocks(root: Path = Path("/"), cpu: int = 0) -> Clocks:
    """Read how the clocks are governed; `cpu`: one that this process may use."""
    gpu = _gpu(root)
    bounds = [
        (number(policy / "scaling_min_freq"), number(policy / "scaling_max_freq"))
        for policy in sorted((root / CPUS / "cpufreq").glob("policy*"))
    ]
    if gpu is not None:
        bounds.append((number(gpu / "min_freq"), number(gpu / "max_freq")))
    told = [(low, high) for low, high in bounds if low is not None and high is not None]
    return Clocks(
        governor=text(root / CPUS / f"cpu{cpu}/cpufreq/scaling_governor") or None,
        gpu_governor=(text(gpu / "governor") or None) if gpu is not None else None,
        locked=all(low == high for low, high in told) if told else None,
    )


def clocks_mhz(root: Path = Path("/")) -> dict[str, float]:
    """The rates at this moment: of every CPU frequency policy, and of a Jetson's GPU."""
    found = {}
    for policy in sorted((root / CPUS / "cpufreq").glob("policy*"), key=natural):
        if (khz := number(policy / "scaling_cur_freq")) is not None:
            found[f"cpu{policy.name.removeprefix('policy')}"] = khz / KHZ_PER_MHZ
    gpu = _gpu(root)
    if gpu is not None and (hz := number(gpu / "cur_freq")) is not None:
        found["gpu"] = hz / HZ_PER_MHZ
    return found


def temperatures_c(root: Path = Path("/")) -> dict[str, float]:
    """By the zones' names; zones that are switched off read as an error, or far below zero, and are left out."""
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=natural):
        milli = number(zone / "temp")
        if milli is not None and milli > -40 * MILLI:
            name = text(zone / "type") or zone.name
            found[name if name not in found else f"{name} ({zone.name})"] = milli / MILLI
    return found


def throttle_counts(root: Path = Path("/")) -> dict[str, float]:
    """Counters and states that rise where the machine slows itself down."""
    found = {}
    for file in sorted((root / CPUS).glob("cpu*/thermal_throttle/*_throttle_count"), key=natural):
        found[f"{file.parents[1].name} {file.name.removesuffix('_throttle_count')} thermal"] = number(file) or 0.0
    for file in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"), key=natural):
        found[f"over-current event {file.name.removesuffix('_event_cnt')}"] = number(file) or 0.0
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*"), key=natural):
        name = text(device / "type")
        if not any(fan in name.lower() for fan in ("fan", "pwm")):  # those cool without slowing anything
            found[f"cooling by {name} ({device.name})"] = number(device / "cur_state") or 0.0
    return found


@dataclass
class Watch:
    """What was read along a run, reading by reading. Only a sampling thread adds to it."""

    root: Path = Path("/")
    rows: list[tuple[dict[str, float], dict[str, float]]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    """Reasons of slowing down that a sensor tells in words."""

    def start(self) -> None:
        """Remember the counters, and take a first reading."""
        self.before = throttle_counts(self.root)
        self.read({}, {})

    def read(self, clocks: dict[str, float], temperatures: dict[str, float]) -> None:
        """Take a reading, with what a sensor told beside it."""
        self.rows.append((clocks_mhz(self.root) | clocks, temperatures_c(self.root) | temperatures))

    def conditions(self, waited_share: float | None = None) -> Conditions | None:
        """What the readings say; None where the machine tells nothing."""
        risen = [
            f"{name}: {value - self.before.get(name, 0.0):+g}"
            for name, value in throttle_counts(self.root).items()
            if value > self.before.get(name, 0.0)
        ]
        clocks, temperatures = (_spans([row[i] for row in self.rows]) for i in (0, 1))
        if not clocks and not temperatures and not risen and not self.words and waited_share is None:
            return None
        return Conditions(
            readings=len(self.rows),
            clocks_mhz=clocks,
            temperatures_c=temperatures,
            throttled=[*risen, *sorted(self.words)],
            waited_share=waited_share,
        )


def _spans(rows: Sequence[dict[str, float]]) -> dict[str, Span]:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = ((name, [row[name] for row in rows if name in row]) for name in names)
    return {name: Span(first=column[0], lowest=min(column), highest=max(column)) for name, column in columns}


def _gpu(root: Path) -> Path | None:
    def named() -> Iterator[Path]:
        for device in sorted((root / "sys/class/devfreq").glob("*")):
            if device.name.endswith(GPU_NAMES) or device.name.startswith("gpu-gpc"):
                yield device

    return next(named(), None)
