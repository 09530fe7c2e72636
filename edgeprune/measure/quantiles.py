"""Percentiles of latencies, with intervals that allow for neighbouring calls being alike.

A machine slows down for stretches of calls (clocks, other processes), so calls are not independent and the
plain bootstrap is too sure of itself. Whole stretches are drawn instead: the circular block bootstrap
(Politis and Romano, 1992), with stretches of sqrt(n) calls.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeprune.spec.profile import Latency

P99_MIN_COUNT = 500  # five calls beyond the percentile; fewer and it is one bad moment
RESAMPLES = 400
CONFIDENCE = 0.95


def latency(durations_ms: NDArray[np.float64], batch: int, warm_up: int, settled: bool) -> Latency:
    """Summarise the durations of timed calls, in the order in which they were made."""
    count = len(durations_ms)
    shares = [0.5, 0.9, 0.95] + ([0.99] if count >= P99_MIN_COUNT else [])
    values = np.quantile(durations_ms, shares)
    intervals = quantile_intervals(durations_ms, shares)
    mean = float(durations_ms.mean())
    return Latency(
        p50=float(values[0]),
        p90=float(values[1]),
        p95=float(values[2]),
        p99=float(values[3]) if len(shares) > 3 else None,
        p50_ci=intervals[0],
        p90_ci=intervals[1],
        p95_ci=intervals[2],
        p99_ci=intervals[3] if len(shares) > 3 else None,
        mean=mean,
        minimum=float(durations_ms.min()),
        count=count,
        warm_up=warm_up,
        settled=settled,
        batch=batch,
        throughput_per_s=1000 * batch / mean,
    )


def quantile_intervals(sample: NDArray[np.float64], shares: list[float], seed: int = 0) -> list[tuple[float, float]]:
    """Return the 95 % interval of each quantile of a sample in time order."""
    rng = np.random.default_rng(seed)
    count = len(sample)
    length = math.ceil(math.sqrt(count))
    offsets = np.arange(length)
    drawn = np.empty((RESAMPLES, len(shares)))
    for row in range(RESAMPLES):
        starts = rng.integers(count, size=math.ceil(count / length))
        indices = ((starts[:, None] + offsets) % count).ravel()[:count]
        drawn[row] = np.quantile(sample[indices], shares)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
