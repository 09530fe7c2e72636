"""The solvers on small random problems, against all choices; the fast evaluations against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.pruning.cost import laid_out, total
from edgeprune.pruning.exact import solve_exactly
from edgeprune.pruning.greedy import Bound, holds, solve
from edgeprune.pruning.levels import Levels, table
from edgeprune.pruning.quantity import Affine, Weighted, value

Problem = tuple[Levels, list[Bound]]


def _levels(generator: np.random.Generator, groups: int, most: int, measured: bool = False) -> Levels:
    """Scores add up to convex curves; measured curves only rise."""
    ladders, lost = [], []
    for _ in range(groups):
        units, step = int(generator.integers(2, most + 1)), int(generator.integers(1, 3))
        ladders.append(np.array([units, *range(units - 1, 0, -step)]))
        steps = generator.random(units) ** 3 if measured else np.sort(generator.random(units))
        lost.append(np.concatenate([[0.0], np.cumsum(steps * float(generator.lognormal()))]))
    return table(ladders, lost)


def _chain(generator: np.random.Generator, units: np.ndarray) -> Weighted:
    """Layers between neighbouring groups, as in a network of convolutions in a row."""
    rows = []
    for i in range(-1, len(units)):
        held = {axis: {g: 1} for axis, g in ((0, i + 1), (1, i)) if 0 <= g < len(units)}
        rows.append(({axis: int(units[next(iter(g))]) if (g := held.get(axis)) else 3 for axis in (0, 1)}, held))
    sizes = laid_out(rows, units)
    return Weighted(sizes, generator.integers(1, 50, len(rows)).astype(float))


def _peaks(generator: np.random.Generator, groups: int) -> Affine:
    slope = generator.random((4, groups)) * (generator.random((4, groups)) < 0.7)
    return Affine(generator.random(4), slope)


def _problem(seed: int, kinds: tuple[str, ...], most: int = 5, measured: bool = False) -> Problem:
    generator = np.random.default_rng(seed)
    found = _levels(generator, int(generator.integers(2, 4)), most, measured)
    whole = found.kept[:, 0]
    made = {
        "macs": lambda: _chain(generator, whole),
        "channels": lambda: Affine(np.array([2.0]), generator.integers(1, 4, (1, len(whole))).astype(float)),
        "memory": lambda: _peaks(generator, len(whole)),
    }
    quantities = [made[kind]() for kind in kinds]
    narrowest = found.counts(found.last)
    bounds = []
    for quantity in quantities:
        least, dense = value(quantity, narrowest), value(quantity, whole)
        bounds.append(Bound(quantity, least + float(generator.random()) * (dense - least)))
    return found, bounds


def _all(problem: Problem) -> list[tuple[float, np.ndarray]]:
    """Score lost and levels of every choice that holds the bounds."""
    found, bounds = problem
    choices = (np.array(c) for c in itertools.product(*(range(int(last) + 1) for last in found.last)))
    return [(float(found.losses(c).sum()), c) for c in choices if holds(bounds, found.counts(c))]


@pytest.mark.parametrize("kinds", [("macs",), ("memory",), ("macs", "channels", "memory")])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_greedy_solver_holds_all_bounds_and_no_single_trade_is_left(kinds: tuple[str, ...], seed: int) -> None:
    found, bounds = problem = _problem(seed, kinds)
    level = solve(found, bounds)
    assert holds(bounds, found.counts(level))
    lost = float(found.losses(level).sum())
    for better, other in _all(problem):
        difference = other - level
        one_back = (difference <= 0).all() and difference.sum() == -1
        one_traded = sorted(difference[difference != 0].tolist()) == [-1, 1]
        if one_back or one_traded:
            assert better >= lost * (1 - 1e-9)


@pytest.mark.parametrize("measured", [False, True])
def test_the_greedy_solver_comes_close_to_the_best_of_all_choices(measured: bool) -> None:
    kept = []
    for seed in range(60):
        problem = _problem(seed, ("macs", "channels", "memory")[: 1 + seed % 3], most=8, measured=measured)
        found = problem[0]
        everything = float(found.losses(found.last).sum())
        best = min(lost for lost, _ in _all(problem))
        reached = float(found.losses(solve(*problem)).sum())
        if best < everything - 1e-9:
            kept.append((everything - reached) / (everything - best))
    assert len(kept) > 40
    assert np.mean(kept) > 0.99
    assert min(kept) > 0.85


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_exact_solver_finds_the_best_of_all_choices(seed: int) -> None:
    found, bounds = problem = _problem(seed, ("channels",))
    level = solve_exactly(found, bounds)
    best = min(lost for lost, _ in _all(problem))
    if level is None:  # nothing had to be saved
        assert best == 0
        return
    assert holds(bounds, found.counts(level))
    assert float(found.losses(level).sum()) == pytest.approx(best)


def test_the_exact_solver_takes_layers_whose_neighbours_are_whole_and_leaves_the_rest() -> None:
    generator = np.random.default_rng(0)
    found = _levels(generator, 2, 6)
    whole = found.kept[:, 0]
    apart = laid_out([({0: int(whole[g]), 1: 7}, {0: {g: 1}}) for g in (0, 1)], whole)
    macs = Weighted(apart, np.array([3.0, 5.0]))
    assert solve_exactly(found, [Bound(macs, 0.6 * value(macs, whole))]) is not None
    together = _chain(generator, whole)
    assert solve_exactly(found, [Bound(together, 0.6 * value(together, whole))]) is None
    assert solve_exactly(found, [Bound(macs, 30.0), Bound(macs, 40.0)]) is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_a_step_saves_is_the_difference_of_two_values(seed: int) -> None:
    generator = np.random.default_rng(seed)
    units = generator.integers(2, 9, 3)
    macs, peaks = _chain(generator, units), _peaks(generator, 3)
    square = Weighted(
        laid_out([({0: int(2 * units[1] + 3), 1: int(units[1])}, {0: {1: 2}, 1: {1: 1}})], units), np.ones(1)
    )
    lines = total(laid_out([({0: int(units[0] + 4)}, {0: {0: 1}}), ({0: 5}, {})], units))
    kept = np.array([int(generator.integers(1, n + 1)) for n in units])
    fewer = np.array([int(generator.integers(-1, n)) for n in kept])
    for quantity in (macs, peaks, square, lines):
        saved = quantity.saved(kept, fewer)
        for group in range(3):
            after = kept.copy()
            after[group] -= fewer[group]
            assert saved[:, group] == pytest.approx(quantity.at(kept) - quantity.at(after))
    assert value(square, kept) == (2 * kept[1] + 3) * kept[1]
    assert value(lines, kept) == kept[0] + 4 + 5


def test_many_wide_groups_end_at_the_budget() -> None:
    generator = np.random.default_rng(1)
    count, units = 60, 512
    found = table(
        [np.arange(units, 0, -8)] * count,
        [np.cumsum([0.0, *np.sort(generator.random(units))]) * generator.lognormal() for _ in range(count)],
    )
    macs = _chain(generator, np.full(count, units))
    bound = Bound(macs, 0.5 * value(macs, found.kept[:, 0]))
    reached = value(macs, found.counts(solve(found, [bound])))
    assert 0.999 * bound.limit <= reached <= bound.limit * (1 + 1e-6)


def test_parts_that_no_cut_brings_above_the_limit_are_left_out() -> None:
    generator = np.random.default_rng(2)
    whole = np.array([6, 6, 6])
    peaks = _peaks(generator, 3)
    middle = float(np.median(peaks.at(whole)))
    fewer = peaks.above(middle, whole)
    assert 1 <= len(fewer.constant) < len(peaks.constant)
    for _ in range(50):
        kept = generator.integers(1, 7, 3)
        assert (value(peaks, kept) <= middle) == (value(fewer, kept) <= middle)
    assert len(peaks.above(1e9, whole).constant) == 1
