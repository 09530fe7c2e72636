"""AMP-HASA's score: which way magnitude and curvature push it, and what it does not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeprune.pruning.amp_hasa import FORMS, Weighing, factor, weight_scores
from edgeprune.spec.methods import Form, Sign

SCALED: tuple[Form, ...] = ("power", "rank", "mean")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 5)


def _scored(diagonals: dict[str, Tensor], form: Form, sign: Sign = "corrected", pooled: bool = False) -> Tensor:
    found = weight_scores(_Net(), diagonals, Weighing(form, sign, 0.3, pooled))
    return torch.cat([score.flatten() for score in found.values()])


def _curvatures() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(parameter.shape, generator=draw) + 0.01
        for name, parameter in _Net().named_parameters()
        if parameter.dim() > 1
    }


@pytest.mark.parametrize("form", FORMS)
def test_corrected_rises_with_curvature_and_literal_falls(form: Form) -> None:
    h = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64).sort().values
    corrected, literal = (factor(h, Weighing(form, sign, 0.3)) for sign in ("corrected", "literal"))
    assert bool((corrected.diff() > 0).all())
    assert bool((literal.diff() < 0).all())


@pytest.mark.parametrize("form", FORMS)
def test_of_equal_curvature_the_larger_weight_scores_higher(form: Form) -> None:
    flat = {name: torch.ones_like(h) for name, h in _curvatures().items()}
    magnitudes = torch.cat([_Net().get_parameter(name).detach().double().abs().flatten() for name in flat])
    assert torch.equal(_scored(flat, form).argsort(), magnitudes.argsort())


@pytest.mark.parametrize("form", SCALED)
def test_the_unit_of_the_loss_does_not_count(form: Form) -> None:
    once, other = (_scored({n: s * h for n, h in _curvatures().items()}, form) for s in (1.0, 1e4))
    torch.testing.assert_close(once, other)


def test_as_printed_the_unit_of_the_loss_counts() -> None:
    once, other = (_scored({n: s * h for n, h in _curvatures().items()}, "raw", "literal") for s in (1.0, 100.0))
    assert not torch.equal(once.argsort(), other.argsort())


def test_a_power_of_a_half_ranks_as_optimal_brain_damage() -> None:
    h = _curvatures()
    scores = weight_scores(_Net(), h, Weighing("power", "corrected", 0.5, pooled=False))
    ours = torch.cat([score.flatten() for score in scores.values()])
    obd = torch.cat([(_Net().get_parameter(n).detach().double().square() * h[n].double()).flatten() for n in h])
    assert torch.equal(ours.argsort(), obd.argsort())


def test_pooled_curvature_is_the_same_for_all_outputs_of_a_layer() -> None:
    h = _curvatures()
    ratio = {
        name: score / _Net().get_parameter(name).detach().double().abs()
        for name, score in weight_scores(_Net(), h, Weighing(pooled=True)).items()
    }
    for each in ratio.values():
        torch.testing.assert_close(each, each[:1].expand_as(each))
        assert len(each[0].unique()) > 1


def test_weights_that_went_before_have_no_curvature_that_counts() -> None:
    h = _curvatures()
    live = {name: torch.ones_like(each, dtype=torch.bool) for name, each in h.items()}
    live["a.weight"][0] = False
    loud = {name: each.clone() for name, each in h.items()}
    loud["a.weight"][0] = 1e6
    quiet = weight_scores(_Net(), h, Weighing(pooled=False), live)
    found = weight_scores(_Net(), loud, Weighing(pooled=False), live)
    assert not found["a.weight"][0].any()
    torch.testing.assert_close(found["b.weight"], quiet["b.weight"])
