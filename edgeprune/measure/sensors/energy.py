"""Mean watts of a stretch of a trace: by kind of sensor, since each tells something else."""

from __future__ import annotations

import numpy as np

from edgeprune.measure.sensors.sensor import Floats, Trace


def mean_watts(trace: Trace, values: Floats, begin: float, end: float) -> float | None:
    """Mean watts between two moments of the trace's clock; None where it has too few readings there.

    `values`: of one rail, or the total, as `trace` has them.
    """
    if trace.about.counts:
        return _of_counter(trace.times, values, begin, end)
    if trace.about.averaged_s > 0:
        # A mean over the last second holds what came before the stretch until a second of it is over.
        inside = (trace.times >= begin + trace.about.averaged_s) & (trace.times <= end)
        return float(values[inside].mean()) if inside.sum() >= 2 else None
    return _of_power(trace.times, values, begin, end)


def _of_counter(times: Floats, joules: Floats, begin: float, end: float) -> float | None:
    """From the first to the last moment at which the counter moved: in between it does not tell where it is."""
    moved = np.flatnonzero(np.diff(joules, prepend=joules[:1] - 1) > 0)
    inside = moved[(times[moved] >= begin) & (times[moved] <= end)]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    return float((joules[last] - joules[first]) / (times[last] - times[first]))


def _of_power(times: Floats, watts: Floats, begin: float, end: float) -> float | None:
    """The trapezoids' area over the time, the ends interpolated where there are readings beyond them."""
    inside = (times > begin) & (times < end)
    if inside.sum() < 2:
        return None
    ends = [moment for moment in (begin, end) if times[0] <= moment <= times[-1]]
    at = np.sort(np.concatenate([times[inside], ends]))
    values = np.interp(at, times, watts)
    return float(((values[1:] + values[:-1]) / 2 * np.diff(at)).sum() / (at[-1] - at[0]))
