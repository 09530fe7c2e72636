"""Watts over the timed calls, and energy per image, gross and net of the idle machine; or why there are none."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.measure.latency import Calls
from edgeprune.measure.sensors.energy import mean_watts
from edgeprune.measure.sensors.nvml import find_nvml
from edgeprune.measure.sensors.rails import find_rails
from edgeprune.measure.sensors.rapl import find_rapl
from edgeprune.measure.sensors.sensor import Floats, Sensor, SensorLostError, Trace
from edgeprune.spec.power import Interval, Power

MJ_PER_J = 1000.0
LEAST_SEGMENTS = 5
"""Fewer than this carry no interval."""
SEGMENT_S, SEGMENT_READINGS = 1.0, 10
LATE_S = 0.5
"""Later than this after the end of the calls a trace has not ended early."""
RESAMPLES = 2000
CONFIDENCE = 0.95
NONE = "this machine shows no power sensor (neither RAPL nor INA3221), like most virtual machines"


@dataclass(frozen=True)
class Idle:
    """A stretch of the trace's clock in which nothing was computed."""

    begin: float
    end: float


def find_sensor(root: Path = Path("/"), on_gpu: bool = False) -> Sensor | str:
    """The sensor that sees what computes: a Jetson's board, the GPU, or the CPU; in words, why there is none."""
    try:
        rails = find_rails(root)
        if rails is not None:
            return rails
        if on_gpu:
            return find_nvml()
        return find_rapl(root) or NONE
    except SensorLostError as fault:
        return str(fault)


def unmeasured(reason: str) -> Power:
    return Power(measured=False, reason=reason)


def power_of(trace: Trace, calls: Calls, idle: Idle | None) -> Power:
    """What a trace says of timed calls, their clock being the trace's."""
    begin, end = calls.begin, calls.end
    if trace.lost is not None:
        seen = max(float(trace.times[-1]) - begin, 0.0) if len(trace.times) else 0.0
        return unmeasured(f"the sensor was lost after {seen:.1f} of {end - begin:.1f} s: {trace.lost}")
    # A trace that ends early is a meter's whose log does not reach the end of the run; a reading may also come late.
    if len(trace.times) < 2 or trace.times[-1] < end - max(2 * trace.about.period_s, LATE_S):
        return unmeasured(f"{trace.about.name} has no readings up to the end of the timed calls")
    watts = mean_watts(trace, trace.total, begin, end)
    if watts is None:
        return unmeasured(f"{trace.about.name} gave too few readings in {end - begin:.1f} s. Time for longer.")
    idle_w = mean_watts(trace, trace.total, idle.begin, idle.end) if idle is not None else None
    image_s = (end - begin) / calls.images
    gross, net = _intervals(trace, calls, idle)
    rails = {name: mean_watts(trace, values, begin, end) for name, values in trace.rails.items()}
    energy = MJ_PER_J * watts * image_s
    return Power(
        measured=True,
        reason=None if idle_w is not None else "no idle baseline, so no net energy",
        mean_w=watts,
        energy_per_inference_mj=energy,
        sensor=trace.about.name,
        rails_included=list(trace.about.total),
        rails_w={name: value for name, value in rails.items() if value is not None},
        gross_mj=Interval(value=energy, ci=gross),
        net_mj=Interval(value=MJ_PER_J * (watts - idle_w) * image_s, ci=net) if idle_w is not None else None,
        idle_w=idle_w,
        idle_s=idle.end - idle.begin if idle is not None and idle_w is not None else None,
        seconds=end - begin,
        samples=int(((trace.times >= begin) & (trace.times <= end)).sum()),
        sample_rate_hz=trace.rate_hz,
    )


Bounds = tuple[float, float] | None


def _intervals(trace: Trace, calls: Calls, idle: Idle | None) -> tuple[Bounds, Bounds]:
    """95 % intervals of gross and net millijoules per image: a bootstrap over stretches of the run.

    A stretch is long against the sensor's own time, so that stretches are close to independent.
    """
    length = max(SEGMENT_S, SEGMENT_READINGS * trace.about.period_s, 2 * trace.about.averaged_s)
    edges = _edges(calls.begin, calls.end, length)
    busy = [mean_watts(trace, trace.total, a, b) for a, b in itertools.pairwise(edges)]
    if len(busy) < LEAST_SEGMENTS or None in busy:
        return None, None
    counts = np.histogram(calls.starts, np.array(edges))[0] * calls.batch
    joules = np.array(busy, dtype=np.float64) * np.diff(edges)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(joules), size=(RESAMPLES, len(joules)))
    images = np.maximum(counts[drawn].sum(1), 1)
    gross = MJ_PER_J * joules[drawn].sum(1) / images
    if idle is None:
        return _bounds(gross), None
    edges = _edges(idle.begin, idle.end, length)
    still = [mean_watts(trace, trace.total, a, b) for a, b in itertools.pairwise(edges)]
    if len(still) < LEAST_SEGMENTS or None in still:
        return _bounds(gross), None
    watts = np.array(still, dtype=np.float64)
    idle_w = watts[rng.integers(len(watts), size=(RESAMPLES, len(watts)))].mean(1)
    seconds = (calls.end - calls.begin) / images
    return _bounds(gross), _bounds(gross - MJ_PER_J * idle_w * seconds)


def _edges(begin: float, end: float, length: float) -> list[float]:
    return [float(edge) for edge in np.linspace(begin, end, 1 + max(1, int((end - begin) / length)))]


def _bounds(values: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
