"""Percentiles and their intervals on samples whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.measure.quantiles import latency, quantile_intervals


def test_percentiles_of_a_ramp():
    found = latency(np.arange(1001, dtype=float), batch=1, warm_up=50, settled=True)
    assert (found.p50, found.p90, found.p99) == (500, 900, 990)
    assert found.mean == 500
    assert found.minimum == 0
    assert found.throughput_per_s == 2


def test_no_p99_below_500_calls():
    few = latency(np.ones(499), batch=1, warm_up=0, settled=True)
    assert few.p99 is None
    assert few.p99_ci is None
    assert latency(np.ones(500), batch=1, warm_up=0, settled=True).p99 == 1


def test_one_call_has_a_percentile():
    assert latency(np.array([2.0]), batch=3, warm_up=0, settled=False).p50_ci == (2, 2)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_intervals_of_independent_calls_hold_the_truth_as_often_as_they_say(share):
    rng = np.random.default_rng(1)
    truth = -np.log(1 - share)
    trials = 100
    held = 0
    for seed in range(trials):
        low, high = quantile_intervals(rng.exponential(size=600), [share], seed)[0]
        held += low <= truth <= high
    # 95 with a standard deviation of 2.2; block bootstraps fall a little short on finite samples
    assert 85 <= held <= 100


def test_intervals_agree_with_the_plain_bootstrap_on_independent_calls():
    sample = np.random.default_rng(2).normal(10, 1, size=900)
    rng = np.random.default_rng(3)
    plain = [np.median(rng.choice(sample, len(sample))) for _ in range(2000)]
    low, high = quantile_intervals(sample, [0.5])[0]
    assert high - low == pytest.approx(np.quantile(plain, 0.975) - np.quantile(plain, 0.025), rel=0.35)


def test_intervals_widen_where_neighbours_are_alike():
    """Calls slow down in stretches of 20: 900 calls then tell as much as 45."""
    rng = np.random.default_rng(4)
    stretches = np.repeat(rng.normal(10, 1, size=45), 20)
    mixed = rng.permutation(stretches)
    low, high = quantile_intervals(stretches, [0.5])[0]
    plain_low, plain_high = quantile_intervals(mixed, [0.5])[0]
    assert high - low > 2 * (plain_high - plain_low)


def test_the_same_sample_gives_the_same_interval():
    sample = np.random.default_rng(5).normal(size=300)
    assert quantile_intervals(sample, [0.5, 0.9]) == quantile_intervals(sample, [0.5, 0.9])
