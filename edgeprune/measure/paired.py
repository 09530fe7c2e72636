"""Which of two networks is faster, and by how much: a ratio of medians, with an interval that can be believed.

Two things move a network's speed besides the network. The machine drifts: both are called in turn, a few calls each,
and each such pair of blocks gives one ratio. And where a runtime puts weights and activations in memory differs from
load to load, by a percent or so either way, for as long as that load lives: no number of calls averages that out
(Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time"; Mytkowicz et al. 2009). So both are loaded anew
several times, in alternating order, and the interval is Student's over the loads' mean log ratios, whose scatter
holds both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.runner import Runner
from edgeprune.measure.latency import BLOCK, Clock, warm_up
from edgeprune.progress import Tick, silent
from edgeprune.spec.power import Interval

LOADS = 10
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 97.5 % by degrees of freedom (any table of it)."""
PADDING_BYTES = 1 << 16
WARM_UP_S = 0.1  # the clocks rose at the first load

Open = Callable[[], Runner]


@dataclass(frozen=True)
class Paired:
    """`ratios`: medians of one over the other, `[loads, pairs of blocks]`; `*_ms`: medians of all calls."""

    ratios: tuple[NDArray[np.float64], ...]
    first_ms: float
    second_ms: float

    @property
    def pairs(self) -> int:
        return sum(len(row) for row in self.ratios)

    def ratio(self) -> Interval:
        """The ratio's estimate, and its 95 % interval from the scatter between loads."""
        return mean_ratio([float(np.median(np.log(row))) for row in self.ratios])


def mean_ratio(logs: list[float]) -> Interval:
    """The mean of log ratios, one per load, as a ratio with Student's interval."""
    count = len(logs)
    centre = sum(logs) / count
    if count - 1 not in T_975:
        return Interval(value=math.exp(centre), ci=None)
    error = math.sqrt(sum((log - centre) ** 2 for log in logs) / (count - 1) / count)
    reach = T_975[count - 1] * error
    return Interval(value=math.exp(centre), ci=(math.exp(centre - reach), math.exp(centre + reach)))


def measure_paired(
    first: Open,
    second: Open,
    inputs: tuple[NDArray[np.float32], NDArray[np.float32]],
    seconds: float,
    tick: Tick = silent,
    clock: Clock = time.perf_counter,
) -> Paired:
    """Compare two networks on a batch each, for `seconds` each on top of loading and warming up."""
    rng = np.random.default_rng(0)
    ratios, taken = [], ([], [])  # type: ignore[var-annotated]
    for load in range(LOADS):
        tick("comparing", load, LOADS)
        # An allocation of another size before each load keeps the allocator from handing out the same places again.
        padding = [np.empty(int(rng.integers(1, PADDING_BYTES)), np.uint8) for _ in range(2)]
        opened: dict[int, Runner] = {}
        for which in (0, 1) if load % 2 == 0 else (1, 0):
            opened[which] = (first, second)[which]()
        for which, runner in opened.items():
            warm_up(runner, inputs[which], clock, WARM_UP_S)
        rows = _blocks(opened, inputs, seconds * 2 / LOADS, clock)
        ratios.append(np.array([np.median(a) / np.median(b) for a, b in zip(*rows, strict=True)]))
        for which in (0, 1):
            taken[which].extend(duration for block in rows[which] for duration in block)
        del padding, opened
    tick("comparing", LOADS, LOADS)
    return Paired(tuple(ratios), 1000 * float(np.median(taken[0])), 1000 * float(np.median(taken[1])))


def _blocks(
    opened: dict[int, Runner], inputs: tuple[NDArray[np.float32], NDArray[np.float32]], seconds: float, clock: Clock
) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds of each call, in blocks taken in turn; the order within a pair alternates."""
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    start, turn = clock(), 0
    while clock() - start < seconds or not found[1]:
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            runner, x = opened[which], inputs[which]
            runner.run(x)  # untimed: the caches hold the other's weights
            block = []
            for _ in range(BLOCK):
                mark = clock()
                runner.run(x)
                block.append(clock() - mark)
            found[which].append(block)
        turn += 1
    return found
