"""Timing, with a clock that only moves when a runner runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgeprune.measure.latency import BLOCK, WARM_UP_MAX_S, WARM_UP_MIN_CALLS, measure_interleaved, warm_up


@dataclass
class FakeClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRunner:
    clock: FakeClock
    cost: Callable[[int], float]
    """Seconds of the n-th call."""
    log: list[str]
    name: str
    calls: int = field(default=0)
    runtime: str = "fake"
    threads: int = 1
    simulated: bool = False

    def run(self, x):
        self.clock.now += self.cost(self.calls)
        self.calls += 1
        self.log.append(self.name)
        return x


X = np.zeros((4, 1), dtype=np.float32)


def test_known_durations_come_back():
    clock, log = FakeClock(), []
    fast = FakeRunner(clock, lambda _n: 0.001, log, "fast")
    slow = FakeRunner(clock, lambda _n: 0.004, log, "slow")
    one, other = measure_interleaved([fast, slow], X, seconds=1.0, clock=clock)
    assert one.p50 == pytest.approx(1.0)
    assert other.p50 == pytest.approx(4.0)
    assert one.p50_ci == pytest.approx((1.0, 1.0))
    assert one.throughput_per_s == pytest.approx(4000)
    assert one.count == other.count
    assert one.settled
    assert one.batch == 4
    # 2 s for both, of which each round takes 11 x 5 ms
    assert one.count == BLOCK * -(-2000 // 55)


def test_runners_take_turns():
    clock, log = FakeClock(), []
    runners = [FakeRunner(clock, lambda _n: 0.05, log, name) for name in "abc"]
    measure_interleaved(runners, X, seconds=3.0, clock=clock)
    turn = BLOCK + 1
    assert "".join(log).endswith(2 * ("a" * turn + "b" * turn + "c" * turn))


def test_a_machine_that_slows_down_slows_all_alike():
    """One after another would find the second runner 2x slower; in turn they are equal."""
    clock, log = FakeClock(), []

    def cost(_n):
        return 0.001 * (1 + clock.now / 10)

    runners = [FakeRunner(clock, cost, log, name) for name in "ab"]
    one, other = measure_interleaved(runners, X, seconds=3.0, clock=clock)
    assert other.p50 == pytest.approx(one.p50, rel=0.01)


def test_the_first_call_after_a_switch_is_not_timed():
    clock, log = FakeClock(), []

    def cost(_n):
        return 0.1 if len(log) > 1 and log[-1] != "b" else 0.001

    runners = [FakeRunner(clock, lambda _n: 0.001, log, "a"), FakeRunner(clock, cost, log, "b")]
    _, other = measure_interleaved(runners, X, seconds=1.0, clock=clock)
    assert other.p90 == pytest.approx(1.0)


def test_at_least_one_round_however_slow():
    clock = FakeClock()
    one = measure_interleaved([FakeRunner(clock, lambda _n: 20.0, [], "a")], X, seconds=1.0, clock=clock)[0]
    assert one.count == BLOCK
    assert not one.settled
    assert one.warm_up == 1


def test_warm_up_waits_for_a_falling_latency_to_settle():
    clock = FakeClock()
    runner = FakeRunner(clock, lambda n: 0.01 * (1 + 2.0 ** (-n / 50)), [], "a")
    calls, settled = warm_up(runner, X, clock)
    assert settled
    # windows of 25: the median falls by more than 2 % until the excess 2^(-n/50) is small
    assert 150 <= calls <= 300


def test_warm_up_of_a_steady_runner_takes_the_least():
    clock = FakeClock()
    assert warm_up(FakeRunner(clock, lambda _n: 0.02, [], "a"), X, clock) == (WARM_UP_MIN_CALLS, True)


def test_warm_up_gives_up_in_bounded_time():
    clock = FakeClock()
    calls, settled = warm_up(FakeRunner(clock, lambda n: 0.001 * 1.01**n, [], "a"), X, clock)
    assert not settled
    assert clock.now < 1.1 * WARM_UP_MAX_S
    assert calls > WARM_UP_MIN_CALLS
