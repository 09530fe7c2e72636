"""How long a call takes: warm up until it settles, then time calls, several runners in turn.

Runners that are compared are timed in turn, a few calls each, round after round, so that a machine that slows
down slows all of them alike. Measured one after another, the difference would hold the hour of the day too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.runner import Runner
from edgeprune.measure.quantiles import latency
from edgeprune.progress import Tick, silent
from edgeprune.spec.profile import Latency

Clock = Callable[[], float]

WINDOW = 25
WARM_UP_MIN_CALLS = 50
WARM_UP_MIN_S = 0.5  # clocks of an idle core rise within tens of milliseconds
WARM_UP_MAX_S = 10.0
DRIFT = 0.02
BLOCK = 10


def measure_latency(
    runner: Runner,
    x: NDArray[np.float32],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time calls of one runner on the batch `x` for `seconds`, after the warm-up."""
    return measure_interleaved([runner], x, seconds, tick, clock)[0]


def measure_interleaved(
    runners: Sequence[Runner],
    x: NDArray[np.float32],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> list[Latency]:
    """Time calls of several runners on one batch, in turn; the same number of calls each.

    Takes `seconds` per runner on top of the warm-ups, and at least one round of `BLOCK` calls each.
    """
    warmed = []
    for index, runner in enumerate(runners):
        tick("warming up", index, len(runners))
        warmed.append(warm_up(runner, x, clock))
    durations: list[list[float]] = [[] for _ in runners]
    start, total = clock(), seconds * len(runners)
    while (spent := clock() - start) < total or not durations[0]:
        tick("timing calls", min(100, int(100 * spent / total)), 100)
        for runner, own in zip(runners, durations, strict=True):
            if len(runners) > 1:
                runner.run(x)  # untimed: it finds the caches filled with the previous runner's weights
            own.extend(_timed(runner, x, clock) for _ in range(BLOCK))
    tick("timing calls", 100, 100)
    return [
        latency(1000 * np.array(own), len(x), calls, settled)
        for own, (calls, settled) in zip(durations, warmed, strict=True)
    ]


def warm_up(runner: Runner, x: NDArray[np.float32], clock: Clock = time.perf_counter) -> tuple[int, bool]:
    """Call until the median of a window differs from the last one's by less than 2 %.

    Returns:
        the calls made, and whether it settled before the time for it ran out.
    """
    start = clock()
    calls, before = 0, float("nan")
    while True:
        window = []
        for _ in range(WINDOW):
            window.append(_timed(runner, x, clock))
            if clock() - start > WARM_UP_MAX_S:
                return calls + len(window), False
        calls += WINDOW
        median = float(np.median(window))
        steady = abs(median - before) <= DRIFT * before
        if steady and calls >= WARM_UP_MIN_CALLS and clock() - start >= WARM_UP_MIN_S:
            return calls, True
        before = median


def _timed(runner: Runner, x: NDArray[np.float32], clock: Clock) -> float:
    start = clock()
    runner.run(x)
    return clock() - start
