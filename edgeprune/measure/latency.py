"""How long a call takes: warm up until it settles, then time calls, several runners in turn.

Runners that are compared are timed in turn, a few calls each, round after round, so that a machine that slows
down slows all of them alike. Measured one after another, the difference would hold the hour of the day too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
MS_PER_S = 1000.0


@dataclass(frozen=True)
class Calls:
    """Timed calls in the order in which they began, in seconds of one clock."""

    starts: NDArray[np.float64]
    durations: NDArray[np.float64]
    batch: int
    warm_up: int
    """Calls made before."""
    settled: bool
    streams: int = 1

    @property
    def begin(self) -> float:
        return float(self.starts[0])

    @property
    def end(self) -> float:
        return float((self.starts + self.durations).max())

    @property
    def images(self) -> int:
        return len(self.starts) * self.batch

    def latency(self) -> Latency:
        """Their percentiles."""
        summary = latency(MS_PER_S * self.durations, self.batch, self.warm_up, self.settled)
        if self.streams == 1:
            return summary
        together = self.images / (self.end - self.begin)
        return summary.model_copy(update={"streams": self.streams, "throughput_per_s": together})


def measure_latency(
    runner: Runner,
    x: NDArray[np.float32],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> Calls:
    """Time calls of one runner on the batch `x` for `seconds`, after the warm-up."""
    return time_in_turn([runner], x, seconds, tick, clock)[0]


def measure_interleaved(
    runners: Sequence[Runner],
    x: NDArray[np.float32],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> list[Latency]:
    """Time calls of several runners on one batch, in turn; the same number of calls each."""
    return [calls.latency() for calls in time_in_turn(runners, x, seconds, tick, clock)]


def time_in_turn(
    runners: Sequence[Runner], x: NDArray[np.float32], seconds: float, tick: Tick, clock: Clock
) -> list[Calls]:
    """Time calls of several runners in turn.

    Takes `seconds` per runner on top of the warm-ups, and at least one round of `BLOCK` calls each.
    """
    warmed = []
    for index, runner in enumerate(runners):
        tick("warming up", index, len(runners))
        warmed.append(warm_up(runner, x, clock))
    marks: list[list[float]] = [[] for _ in runners]
    durations: list[list[float]] = [[] for _ in runners]
    start, total = clock(), seconds * len(runners)
    while (spent := clock() - start) < total or not durations[0]:
        tick("timing calls", min(100, int(100 * spent / total)), 100)
        for runner, begun, taken in zip(runners, marks, durations, strict=True):
            if len(runners) > 1:
                runner.run(x)  # untimed: it finds the caches filled with the previous runner's weights
            for _ in range(BLOCK):
                mark = clock()
                runner.run(x)
                taken.append(clock() - mark)
                begun.append(mark)
    tick("timing calls", 100, 100)
    return [
        Calls(np.array(begun), np.array(taken), len(x), calls, settled)
        for begun, taken, (calls, settled) in zip(marks, durations, warmed, strict=True)
    ]


def measure_streams(runner: Runner, x: NDArray[np.float32], seconds: float, streams: int, tick: Tick = silent) -> Calls:
    """Time calls from several threads at once, each waiting for its own call before it makes the next."""
    warmed, settled = warm_up(runner, x)
    begun: list[list[float]] = [[] for _ in range(streams)]
    taken: list[list[float]] = [[] for _ in range(streams)]
    faults: list[BaseException] = []
    together = threading.Barrier(streams)
    clock = time.perf_counter

    def call(stream: int) -> None:
        try:
            together.wait()
            end = clock() + seconds
            while (mark := clock()) < end or not taken[stream]:
                runner.run(x)
                taken[stream].append(clock() - mark)
                begun[stream].append(mark)
        except BaseException as fault:  # told by the thread that waits
            faults.append(fault)

    tick(f"timing {streams} streams", 0, 1)
    threads = [threading.Thread(target=call, args=(stream,)) for stream in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    tick(f"timing {streams} streams", 1, 1)
    starts, durations = (np.concatenate([np.array(row) for row in rows]) for rows in (begun, taken))
    order = np.argsort(starts, kind="stable")
    return Calls(starts[order], durations[order], len(x), warmed, settled, streams)


def warm_up(
    runner: Runner, x: NDArray[np.float32], clock: Clock = time.perf_counter, least_s: float = WARM_UP_MIN_S
) -> tuple[int, bool]:
    """Call until the median of a window differs from the last one's by less than 2 %, for `least_s` at the least.

    Returns:
        the calls made, and whether it settled before the time for it ran out.
    """
    start = clock()
    calls, before = 0, float("nan")
    while True:
        window = []
        for _ in range(WINDOW):
            mark = clock()
            runner.run(x)
            window.append(clock() - mark)
            if clock() - start > WARM_UP_MAX_S:
                return calls + len(window), False
        calls += WINDOW
        median = float(np.median(window))
        steady = abs(median - before) <= DRIFT * before
        if steady and calls >= WARM_UP_MIN_CALLS and clock() - start >= least_s:
            return calls, True
        before = median
