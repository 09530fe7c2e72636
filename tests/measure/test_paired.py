"""The ratio of two networks on a clock that only moves when one of them runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeprune.measure.latency import BLOCK, measure_streams
from edgeprune.measure.paired import LOADS, mean_ratio, measure_paired
from tests.measure.test_latency import FakeClock, FakeRunner, X


def runs(costs, seed, loads_scatter=0.0, drift=0.0, seconds=1.0):
    """Compare two fakes of those costs; every load is faster or slower by a random factor of its own."""
    clock, rng, log = FakeClock(), np.random.default_rng(seed), []

    def opener(cost):
        def opened():
            factor = math.exp(rng.normal(0, loads_scatter))
            noise = rng.lognormal(0, 0.02, 4096)
            return FakeRunner(clock, lambda n: cost * factor * noise[n % 4096] * (1 + drift * clock.now), log, "r")

        return opened

    first, second = (opener(cost) for cost in costs)
    return measure_paired(first, second, (X, X), seconds, clock=clock)


def test_a_known_ratio_comes_back():
    found = runs((0.011, 0.010), 0)
    ratio = found.ratio()
    assert ratio.value == pytest.approx(1.1, rel=0.01)
    assert ratio.ci is not None
    assert ratio.ci[0] < 1.1 < ratio.ci[1]
    assert ratio.ci[0] > 1
    assert len(found.ratios) == LOADS
    assert found.pairs >= LOADS
    assert found.first_ms == pytest.approx(11, rel=0.02)


def test_a_machine_that_slows_down_slows_both():
    ratio = runs((0.010, 0.010), 1, drift=0.02).ratio()
    assert ratio.value == pytest.approx(1.0, abs=0.01)
    assert ratio.ci is not None
    assert ratio.ci[0] <= 1 <= ratio.ci[1]


def test_the_interval_holds_one_as_often_as_it_says_where_loads_scatter():
    """One per cent from load to load: an interval from the calls alone would be a tenth as wide, and mostly wrong."""
    held = sum(ci[0] <= 1 <= ci[1] for seed in range(60) if (ci := runs((0.02, 0.02), seed, 0.01, 0, 0.2).ratio().ci))
    # 57 with a standard deviation of 1.7
    assert 52 <= held <= 60


def test_a_tenth_is_seen_in_spite_of_the_scatter():
    seen = sum(runs((0.022, 0.02), seed, 0.01, 0, 0.2).ratio().ci[0] > 1 for seed in range(20))
    assert seen >= 19


def test_the_mean_and_student_s_interval_by_hand():
    found = mean_ratio([0.0, math.log(1.21)])
    assert found.value == pytest.approx(1.1)
    assert found.ci is not None
    # a standard error of ln(1.21)/2, times 12.706
    assert math.log(found.ci[1] / found.value) == pytest.approx(12.706 * math.log(1.21) / 2)
    assert mean_ratio([0.5]).ci is None


def test_both_are_loaded_in_alternating_order():
    clock, log = FakeClock(), []
    order = []

    def opener(name):
        def opened():
            order.append(name)
            return FakeRunner(clock, lambda _n: 0.05, log, name)

        return opened

    measure_paired(opener("a"), opener("b"), (X, X), 0.1, clock=clock)
    assert "".join(order) == "abba" * (LOADS // 2)
    assert log.count("a") == log.count("b")
    assert "a" * (BLOCK + 1) in "".join(log)


def test_streams_call_at_the_same_time():
    import time
    from dataclasses import dataclass

    @dataclass
    class Sleeper:
        runtime: str = "fake"
        threads: int = 1
        simulated: bool = False

        def run(self, x):
            time.sleep(0.01)
            return x

    calls = measure_streams(Sleeper(), X, 0.3, streams=3)
    latency = calls.latency()
    assert latency.streams == 3
    assert latency.batch == 4
    # Each call takes 10 ms and more; three at once put through more than two could.
    assert latency.minimum >= 10
    assert latency.throughput_per_s > 2 * 4 * 100
    assert list(calls.starts) == sorted(calls.starts)


def test_a_fault_in_a_stream_is_not_lost():
    class Broken:
        def __init__(self):
            self.calls = 0

        def run(self, x):
            self.calls += 1
            if self.calls > 60:
                raise ValueError("no more")
            import time

            time.sleep(0.011)  # so that the warm-up's half second is over within its calls
            return x

    with pytest.raises(ValueError, match="no more"):
        measure_streams(Broken(), X, 5.0, streams=2)
