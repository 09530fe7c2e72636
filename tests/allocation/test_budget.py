"""Allocations meet the budget exactly, whatever is asked; the rules against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.allocation.parts import Lot, Part
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.projection import Exactly, Free, shifted
from edgeprune.allocation.rules import RULES, lamp_scores
from edgeprune.errors import EdgepruneError
from tests.allocation import made


@pytest.mark.parametrize("seed", range(20))
def test_random_logits_meet_the_budget_exactly(seed: int) -> None:
    draw = np.random.default_rng(seed)
    lot = made.lot(units=int(draw.integers(50, 500)))
    goal = Exactly.of(lot, float(draw.uniform(0.05, 0.95)))
    kept = goal.fit(shifted(draw.normal(0, 5, len(lot.parts))))
    assert int(kept.sum()) == goal.stay
    assert bool((kept >= lot.least).all())
    assert bool((kept <= lot.most).all())


def test_units_of_several_weights_come_within_one_unit() -> None:
    lot = made.lot(sizes=(4, 4, 2, 2, 4))
    goal = Exactly.of(lot, 0.37)
    kept = goal.fit(shifted(np.array([1.0, -1.0, 0.3, 2.0, 0.0])))
    short = goal.stay - int((kept * lot.sizes).sum())
    assert 0 <= short < 2


def test_more_than_the_floors_allow_is_refused_in_a_line() -> None:
    with pytest.raises(EdgepruneError, match=r"0\.995 cannot be reached: .* at most 0\.990"):
        Exactly.of(made.lot(), 0.995)


def test_every_rule_meets_the_budget() -> None:
    problem = made.problem()
    for name in RULES:
        assert sum(problem.by_rule(name)) == round((1 - made.ZEROS) * made.UNITS * len(made.COSTS))


def test_lamp_by_its_formula() -> None:
    scores = np.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(lamp_scores(scores), [9 / 9, 1 / 14, 4 / 13])


def test_erk_is_in_proportion_to_dimensions_over_their_product() -> None:
    shapes = ((8, 16), (32, 64))
    parts = [Part(str(s), np.linspace(1, 2, s[0] * s[1]), 1, s[0] * s[1], 1, (s,), 0) for s in shapes]
    lot = Lot(tuple(parts), {})
    kept = Exactly.of(lot, 0.9).fit(RULES["erk"](lot)) / lot.units
    expected = (24 / 128) / (96 / 2048)
    assert kept[0] / kept[1] == pytest.approx(expected, rel=0.05)


def test_global_takes_one_threshold() -> None:
    parts = [
        Part("low", np.full(100, 1.0), 1, 100, 1, ((100,),), 0),
        Part("high", np.full(100, 9.0), 1, 100, 1, ((100,),), 0),
    ]
    lot = Lot(tuple(parts), {})
    assert Exactly.of(lot, 0.5).fit(RULES["global"](lot)).tolist() == [1, 99]


def test_without_a_budget_shares_are_taken_as_they_are() -> None:
    lot = made.lot()
    problem = Problem(lot, Free(lot), np.zeros(len(lot.parts)))
    assert problem.kept(np.full(len(lot.parts), 50.0)) == (made.UNITS,) * len(lot.parts)
