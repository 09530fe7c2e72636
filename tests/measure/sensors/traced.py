"""Traces without waiting: a clock that is moved by hand, and sensors that are read along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeprune.measure.latency import Calls
from edgeprune.measure.sensors.sensor import About, Sensor, Trace


@dataclass
class Moving:
    """A clock."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def trace_of(sensor: Sensor, clock: Moving, seconds: float) -> Trace:
    """Read a sensor at its own rate."""
    times, readings, end = [], [], clock.now + seconds
    while clock.now < end:
        readings.append(sensor.read())
        times.append(clock.now)
        clock.now += sensor.about.period_s
    rails = {name: np.array([reading[name] for reading in readings]) for name in readings[0]}
    return Trace(sensor.about, np.array(times), rails)


def sampled(watts: Callable[[np.ndarray], np.ndarray], about: About, begin: float, end: float) -> Trace:
    """What a sensor of that kind would have told of a load with known power."""
    times = np.arange(begin, end, about.period_s)
    values = watts(times)
    if about.counts:
        fine = np.arange(begin, end, 1e-4)
        values = np.interp(times, fine, np.concatenate([[0.0], np.cumsum(watts(fine))[:-1] * 1e-4]))
    return Trace(about, times, {"board": values})


def calls(begin: float, end: float, each_s: float) -> Calls:
    """Calls of one image, one behind the other."""
    starts = np.arange(begin, end - each_s / 2, each_s)
    return Calls(starts, np.full(len(starts), each_s), 1, 50, True)
