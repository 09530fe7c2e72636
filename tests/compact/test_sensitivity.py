"""What cuts cost, against networks that are really cut; and that the budget is solved on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.compact import sensitivity
from edgeprune.compact.apply import compact
from edgeprune.compact.sensitivity import FEWEST, MOST, before_training, images_for, sensitivities
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.budget import choose
from edgeprune.pruning.levels import Limits, ladder, levels
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.score import Curve, Scores
from edgeprune.spec.budget import Budget
from tests.zoo import SHAPE, build

LIMITS = Limits(multiple=4, max_sparsity=0.95)


def _problem(name: str) -> tuple[Traced, Prunable, Scores, Tensor]:
    if name == "vit":
        torch.manual_seed(0)
        traced = trace(VisionTransformer(4, 2, 16, 2, 5, 3, 8).eval(), (3, 8, 8))
        x = torch.randn(10, 3, 8, 8)
    else:
        traced, x = trace(build(name).eval(), SHAPE), torch.randn(10, *SHAPE)
    ground = prunable(traced)
    return traced, ground, METHODS["magnitude"](traced.module, ground.groups, None, "zero"), x


def _divergence(dense: Tensor, thin: Tensor) -> float:
    """Mean over images of `sum p log(p / q)`."""
    p, q = dense.double().softmax(1), thin.double().softmax(1)
    return float((p * (p / q).log()).sum(1).mean())


@pytest.mark.parametrize("name", ["Residual", "Concat", "Depthwise", "Grouped", "Shuffle", "vit"])
def test_a_curve_is_what_a_network_without_these_units_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traced, ground, scores, x = _problem(name)
    curves = sensitivities(traced, ground.found, ground.groups, scores, LIMITS, x)
    assert set(curves) == {group.name for group in ground.groups}
    with torch.no_grad():
        dense = traced.module(x)
    for group in ground.groups:
        curve = curves[group.name]
        assert curve.kept[-1] == len(group.units)
        assert curve.lost[-1] == 0.0
        assert set(curve.kept) <= set(ladder(group, LIMITS).tolist())
        assert len(curve.kept) == min(sensitivity.POINTS + 1, len(ladder(group, LIMITS)))
        order, most = scores.value[group.name].argsort(stable=True).tolist(), 0.0
        for kept, lost in [*zip(curve.kept, curve.lost, strict=True)][-2::-1]:
            units = frozenset(group.units[i] for i in order[: len(order) - kept])
            thin, _ = compact(traced, ground.found, units, x[:2])
            with torch.no_grad():
                most = max(most, _divergence(dense, thin.module(x)))
            assert lost == pytest.approx(most, rel=1e-3, abs=1e-7)
    monkeypatch.setattr(sensitivity, "AT_ONCE", 1)
    for name_, curve in sensitivities(traced, ground.found, ground.groups, scores, LIMITS, x).items():
        np.testing.assert_allclose(curve.lost, curves[name_].lost, rtol=1e-4, atol=1e-7)


def test_only_a_few_widths_of_a_wide_group_are_measured() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 128, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 3))
    traced = trace(module.eval(), (3, 4, 4))
    ground = prunable(traced)
    scores = METHODS["magnitude"](traced.module, ground.groups, None, "zero")
    told: list[tuple[int, int]] = []
    (curve,) = sensitivities(
        traced, ground.found, ground.groups, scores, Limits(1, 0.95), torch.randn(4, 3, 4, 4),
        lambda _, done, total: told.append((done, total)),
    ).values()  # fmt: skip
    assert len(curve.kept) == sensitivity.POINTS + 1
    assert (curve.kept[0], curve.kept[-2]) == (7, 127)
    assert told[-1] == (8, 8)
    table = levels(ground.groups, replace(scores, measured={ground.groups[0].name: curve}), Limits(1, 0.95))
    np.testing.assert_allclose(
        table.lost[0], np.interp(table.kept[0], curve.kept, curve.lost)
    )  # what lies between is interpolated


def test_one_output_is_held_against_itself_by_squares() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    traced, x = trace(module.eval(), (3, 4, 4)), torch.randn(4, 3, 4, 4)
    ground = prunable(traced)
    scores = METHODS["magnitude"](traced.module, ground.groups, None, "zero")
    (curve,) = sensitivities(traced, ground.found, ground.groups, scores, LIMITS, x).values()
    units = frozenset(ground.groups[0].units[i] for i in scores.value[ground.groups[0].name].argsort()[:4].tolist())
    thin, _ = compact(traced, ground.found, units, x)
    with torch.no_grad():
        expected = float((thin.module(x) - traced.module(x)).square().mean())
    assert curve.lost[0] == pytest.approx(expected, rel=1e-4)


def test_the_budget_is_solved_on_what_was_measured() -> None:
    traced, ground, scores, _ = _problem("Residual")
    first, *others = ground.groups
    dear = Curve((4, len(first.units)), (1e6, 0.0))
    cheap = {group.name: Curve((4, len(group.units)), (1.0, 0.0)) for group in others}
    measured = replace(scores, measured={first.name: dear} | cheap)
    cuts = choose(ground.groups, measured, ground.cost, Budget(params=0.6), LIMITS)
    assert cuts.kept[first.name] == (len(first.units), len(first.units))
    for group in others:  # which units go, the scores say all the same
        gone = len(group.units) - cuts.kept[group.name][0]
        lowest = {group.units[i] for i in scores.value[group.name].argsort(stable=True)[:gone].tolist()}
        assert lowest == cuts.units & set(group.units)
    assert traced is not None


def test_before_training_narrow_groups_cost_more_and_whole_ones_nothing() -> None:
    (found,) = before_training({"a": Curve((2, 4, 8), (3.0, 1.0, 0.0))}).values()
    assert found == Curve((2, 4, 8), (48.0, 4.0, 0.0))


def test_small_networks_are_measured_on_more_images_than_large_ones() -> None:
    traced, ground, *_ = _problem("Residual")
    assert images_for(traced, ground.groups, LIMITS) == MOST
    torch.manual_seed(0)
    large = trace(VisionTransformer(4, 4, 256, 2, 5, 3, 160).eval(), (3, 160, 160))
    wide = prunable(large)
    assert images_for(large, wide.groups, LIMITS) == FEWEST
