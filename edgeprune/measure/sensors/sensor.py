"""Sensor: what tells watts or joules by rail; and the trace of its readings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SensorLostError(Exception):
    """A sensor that told something before tells nothing any more; the text says why."""


@dataclass(frozen=True)
class Beside:
    """What a sensor tells beside power."""

    clocks_mhz: dict[str, float] = field(default_factory=dict)
    temperatures_c: dict[str, float] = field(default_factory=dict)
    slowed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class About:
    """What a sensor's readings are.

    `counts`: joules since some moment, else watts. `total`: the rails whose sum is what the device takes.
    `averaged_s`: each reading of watts is the mean over so long before it. `period_s`: how often to read.
    """

    name: str
    counts: bool
    total: tuple[str, ...]
    period_s: float
    averaged_s: float = 0.0


class Sensor(Protocol):
    @property
    def about(self) -> About: ...

    def read(self) -> dict[str, float]:
        """Watts or joules by rail.

        Raises:
            SensorLostError: it tells nothing any more.
        """

    def beside(self) -> Beside: ...


@dataclass(frozen=True)
class Trace:
    """Readings in the order in which they were taken. `times`: seconds of one clock, `[n]`; `rails`: `[n]` each."""

    about: About
    times: Floats
    rails: dict[str, Floats]
    lost: str | None = None
    """Why the readings end before the run does."""

    @property
    def total(self) -> Floats:
        """The readings of the whole device, `[n]`."""
        found: Floats = np.sum([self.rails[name] for name in self.about.total], axis=0)
        return found

    @property
    def rate_hz(self) -> float | None:
        return (len(self.times) - 1) / float(np.ptp(self.times)) if len(self.times) > 1 else None


def read_number(path: Path) -> float:
    """The number in a sensor's file; opened anew each time, since the kernel fills it at that moment.

    Raises:
        SensorLostError: it cannot be read, or holds no number.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            return float(os.read(handle, 64))
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise SensorLostError(f"{path} cannot be read any more ({getattr(error, 'strerror', None) or error})") from None
