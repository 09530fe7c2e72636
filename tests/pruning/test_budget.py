"""The budget solver and the cost model, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from edgeprune.compact.apply import compact
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs, params
from edgeprune.model.traced import trace
from edgeprune.pruning.budget import check, choose, smallest
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import prunable
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from edgeprune.spec.recipe import AttentionCut, LayerRule
from tests.zoo import SHAPE, ZOO, build


def _random_scores(ground, seed: int) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    return Scores({g.name: torch.rand(len(g.units), generator=generator, dtype=torch.float64) for g in ground.groups})


@pytest.mark.parametrize("attention", ["dims", "heads"])
@pytest.mark.parametrize("name", [n for n in ZOO if n != "Unknown"])
def test_the_cost_model_says_what_the_compacted_network_has(name: str, attention: AttentionCut) -> None:
    traced = trace(build(name), SHAPE)
    ground = prunable(traced, (), attention=attention)
    cuts = choose(ground.groups, _random_scores(ground, 1), ground.cost, Budget(macs=0.6), Limits(2, 0.9))
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    assert macs(thin) / macs(traced) == pytest.approx(cuts.reached["macs"])
    assert params(thin) / params(traced) == pytest.approx(cuts.reached["params"])
    assert cuts.reached["macs"] <= 0.6


@pytest.mark.parametrize("kind", ["macs", "params", "sparsity"])
def test_the_solver_comes_close_to_the_best_of_all_choices(kind: str) -> None:
    ground = prunable(trace(build("Residual"), SHAPE), ())
    for seed in range(5):
        scores = _random_scores(ground, seed)
        limits, budget = Limits(4, 0.95), Budget(**{kind: 0.5})
        cuts = choose(ground.groups, scores, ground.cost, budget, limits)
        values = [scores.value[g.name].sort(descending=True).values for g in ground.groups]
        measure = {"macs": ground.cost.macs, "params": ground.cost.params, "sparsity": ground.cost.channels}[kind]
        full = np.array([len(g.units) for g in ground.groups])
        choices = itertools.product(*[range(4, n + 1, 4) for n in full])
        fitting = [c for c in choices if measure(np.array(c)) <= 0.5 * measure(full)]
        best = max(sum(float(v[:n].sum()) for v, n in zip(values, c, strict=True)) for c in fitting)
        reached = sum(float(v[: cuts.kept[g.name][0]].sum()) for v, g in zip(values, ground.groups, strict=True))
        assert reached >= 0.97 * best


def test_widths_are_multiples_and_the_lowest_scores_go() -> None:
    ground = prunable(trace(build("Grouped"), SHAPE), ())
    scores = _random_scores(ground, 3)
    cuts = choose(ground.groups, scores, ground.cost, Budget(macs=0.6), Limits(8, 0.95))
    for group in ground.groups:
        kept, total = cuts.kept[group.name]
        for weight in group.producers:
            assert kept == total or kept * group.width((weight, 0)) % 8 == 0
        gone = [i for i, unit in enumerate(group.units) if unit in cuts.units]
        value = scores.value[group.name]
        assert len(gone) == total - kept
        if gone and kept:
            assert float(value[gone].max()) <= float(value[[i for i in range(total) if i not in gone]].min())


def test_a_budget_out_of_reach_says_what_can_be_reached() -> None:
    ground = prunable(trace(build("Residual"), SHAPE), ())
    with pytest.raises(EdgepruneError, match=r"--macs 0.01 cannot be met: (0\.\d+) is the least"):
        choose(ground.groups, _random_scores(ground, 0), ground.cost, Budget(macs=0.01), Limits(8, 0.5))
    with pytest.raises(EdgepruneError, match=r"--sparsity 0.99 cannot be met: at most 0\.\d+ of the channels"):
        choose(ground.groups, _random_scores(ground, 0), ground.cost, Budget(sparsity=0.99), Limits(8, 0.5))


def test_nothing_to_cut_says_why() -> None:
    with pytest.raises(EdgepruneError, match="kept by request"):
        prunable(trace(build("Plain"), SHAPE), ("*",))


def test_rules_hold_for_their_layers_and_the_first_that_matches_counts() -> None:
    traced = trace(build("Residual"), SHAPE)
    rules = (
        LayerRule(pattern="a*", min_channels=12),
        LayerRule(pattern="c*", keep=True),
        LayerRule(pattern="[abc]*", multiple=3),
        LayerRule(pattern="d", max_sparsity=0.25),
    )
    ground = prunable(traced, (), rules)
    assert ground.found.frozen["c.0"] == "kept by request"
    limits = Limits(1, 0.9, rules)
    cuts = choose(ground.groups, _random_scores(ground, 0), ground.cost, Budget(macs=0.6), limits)
    kept = {weight: cuts.kept[g.name][0] for g in ground.groups for weight in g.producers}
    assert kept["a.0.weight"] >= 12
    assert "c.0.weight" not in kept
    assert kept["b.0.weight"] in {16, 15, 12, 9, 6, 3}
    assert kept["d.weight"] >= 18
    # `d` adds to `project`, which no rule matches: the strictest of the group holds.
    assert kept["project.weight"] == kept["d.weight"]
    least = choose(ground.groups, _random_scores(ground, 0), ground.cost, Budget(macs=0.45), limits)
    assert least.kept["a.0"][0] >= 12


def test_keep_goes_before_the_rules() -> None:
    traced = trace(build("Residual"), SHAPE)
    ground = prunable(traced, ("a*",), (LayerRule(pattern="*", max_sparsity=0.5),))
    assert "a.0.weight" not in {weight for group in ground.groups for weight in group.producers}


@pytest.mark.parametrize(
    ("keep", "rules", "told"),
    [
        (("project.0",), (), r"--keep 'project.0' matches no layer. Near it: project, c"),
        ((), ("hed",), r"layers 'hed' matches no layer. Near it: head, d"),
        ((), ("x*",), r"layers 'x\*' matches no layer. The layers: stem.0, a.0, b.0, c.0, d and 2 more\."),
    ],
)
def test_a_pattern_without_a_layer_names_those_that_are_near(keep, rules, told: str) -> None:
    with pytest.raises(EdgepruneError, match=told):
        prunable(trace(build("Residual"), SHAPE), keep, tuple(LayerRule(pattern=p, keep=True) for p in rules))


def test_what_is_checked_before_scoring_is_what_the_solver_refuses() -> None:
    ground = prunable(trace(build("Residual"), SHAPE), ())
    least = smallest(ground.groups, ground.cost, Limits(8, 0.5))["macs"]
    check(ground.groups, ground.cost, Budget(macs=least + 1e-6), Limits(8, 0.5))
    with pytest.raises(EdgepruneError, match="is the least"):
        check(ground.groups, ground.cost, Budget(macs=least - 1e-3), Limits(8, 0.5))
