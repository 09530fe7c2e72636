"""Searches on a separable problem whose optimum is known; what a seed, a time limit and an interrupt do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.allocation.bench import Verdict
from edgeprune.allocation.parts import Kept
from edgeprune.allocation.projection import Free
from edgeprune.allocation.search import Found, search
from edgeprune.allocation.trials import Trials, printed_reward
from edgeprune.spec.methods import AllocatorName
from tests.allocation import made

pytest.importorskip("stable_baselines3", reason="the extra rl is not installed")
pytest.importorskip("gymnasium", reason="the extra rl is not installed")
SEARCHES: tuple[AllocatorName, ...] = ("ppo", "cem", "random")


def _found(name: AllocatorName, most: int, seed: int = 0, file: Path | None = None) -> Found:
    problem = made.problem()
    return search(name, problem, Trials(problem.lot, made.judge, most=most, file=file), made.judge, seed)


def test_ppo_solves_a_separable_allocation() -> None:
    problem = made.problem()
    base, best = made.cost(problem.kept(0 * problem.base)), made.least_cost()
    assert base > 1.2 * best
    gained = [(base - made.cost(_found("ppo", 500, seed).kept)) / (base - best) for seed in range(3)]
    assert min(gained) > 0.8


@pytest.mark.parametrize("name", SEARCHES)
def test_a_seed_decides_everything(name: AllocatorName) -> None:
    first, again, other = (_found(name, 120, seed) for seed in (3, 3, 4))
    kept = [[trial.kept for trial in found.trials] for found in (first, again, other)]
    assert kept[0] == kept[1] != kept[2]
    assert first.kept == again.kept


@pytest.mark.parametrize("name", SEARCHES)
def test_every_trial_meets_the_budget_and_the_base_is_never_fallen_short_of(name: AllocatorName) -> None:
    problem, found = made.problem(), _found(name, 100)
    stay = round((1 - made.ZEROS) * made.UNITS * len(made.COSTS))
    assert {sum(trial.kept) for trial in found.trials} == {stay}
    assert made.cost(found.kept) <= made.cost(problem.kept(0 * problem.base))
    assert len(found.trials) == 100
    assert found.ended == "done"


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_that_was_killed_goes_on_from_what_it_wrote_down(name: AllocatorName, tmp_path: Path) -> None:
    whole = _found(name, 90, file=tmp_path / "whole")
    lines = (tmp_path / "whole").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "part").write_text("".join(lines[:31]) + lines[31][:9], encoding="utf-8")
    asked: list[Kept] = []

    def judge(many: Sequence[Kept]) -> list[Verdict]:
        asked.extend(many)
        return made.judge(many)

    problem = made.problem()
    again = search(name, problem, Trials(problem.lot, judge, most=90, file=tmp_path / "part"), made.judge, 0)
    assert again.kept == whole.kept
    assert [trial.kept for trial in again.trials] == [trial.kept for trial in whole.trials]
    assert len(asked) == len(lines) - 31


def test_an_interrupt_keeps_the_best_so_far() -> None:
    problem, count = made.problem(), 0

    def judge(many: Sequence[Kept]) -> list[Verdict]:
        nonlocal count
        count += len(many)
        if count > 40:
            raise KeyboardInterrupt
        return made.judge(many)

    found = search("cem", problem, Trials(problem.lot, judge, most=600), made.judge, 0)
    assert found.ended == "interrupted"
    assert made.cost(found.kept) == min(made.cost(trial.kept) for trial in found.trials)


def test_a_time_limit_ends_a_search_with_what_it_has() -> None:
    problem = made.problem()
    found = search("random", problem, Trials(problem.lot, made.judge, most=600, seconds=0.0001), made.judge, 0)
    assert found.ended == "time"
    assert 1 <= len(found.trials) < 600


def test_the_environment_passes_gymnasiums_checker() -> None:
    from gymnasium.utils.env_checker import check_env

    from edgeprune.allocation.environment import AllocationEnv

    problem = made.problem()
    check_env(AllocationEnv(problem, Trials(problem.lot, made.judge, most=10_000)), skip_render_check=True)


def test_by_the_reward_as_printed_the_dense_network_wins() -> None:
    problem = made.problem()
    free = replace(problem, goal=Free(problem.lot))
    dense, thinned = (made.UNITS,) * len(made.COSTS), problem.kept(0 * problem.base)
    worth = [printed_reward(made.judge([kept])[0], problem.lot.sparsity(kept)) for kept in (dense, thinned)]
    assert worth[0] > worth[1]
    found = search("cem", free, Trials(problem.lot, made.judge, "literal", most=400), made.judge, 0)
    assert problem.lot.sparsity(found.kept) < problem.lot.sparsity(thinned) - 0.1


def test_ppo_leaves_global_random_numbers_alone() -> None:
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    _found("ppo", 60)
    assert np.random.rand() == expected
