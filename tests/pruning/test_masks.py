"""Masks: scored, applied, stored."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.weights import WeightCurvature
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks, load_masks, save_masks
from edgeprune.pruning.weight_scores import WEIGHT_SCORES
from edgeprune.spec.methods import ScoreName
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.target import load_target
from tests import zoo

CPU = load_target("cpu-x86-avx2")


def _masks(traced: Traced, text: str, zeros: float = 0.5) -> Masks:
    pattern = parse_pattern(text)
    found = eligible(traced, pattern, CPU, ())
    return choose_masks(traced.module, found, pattern, "magnitude", None, Share(zeros, 0.95))


def _traced() -> Traced:
    return trace(zoo.build("Residual"), zoo.SHAPE)


@pytest.mark.parametrize(("pattern", "share"), [("2:4", 0.5), ("1:4", 0.75), ("1x4", 0.6), ("unstructured", 0.7)])
def test_masked_weights_are_zero_and_the_rest_is_as_it_was(pattern: str, share: float) -> None:
    traced, before = _traced(), _traced()
    masks = _masks(traced, pattern, share)
    assert masks.sparsity == pytest.approx(share, abs=0.01)
    apply_masks(traced.module, masks.kept)
    for name, parameter in traced.module.named_parameters():
        old = before.module.get_parameter(name)
        kept = masks.kept.get(name, torch.ones_like(old, dtype=torch.bool))
        assert not parameter[~kept].any()
        assert torch.equal(parameter[kept], old[kept])


def test_they_come_back_from_a_file(tmp_path: Path) -> None:
    masks = _masks(_traced(), "2:4")
    save_masks(masks, tmp_path / "masks.safetensors")
    back = load_masks(tmp_path / "masks.safetensors")
    assert back.pattern == masks.pattern
    assert back.ineligible == masks.ineligible
    assert all(torch.equal(back.kept[name], mask) for name, mask in masks.kept.items())


def test_hap_is_half_the_square_times_the_factored_diagonal() -> None:
    traced = _traced()
    w = traced.module.get_parameter("d.weight").detach().double()
    samples, inputs = torch.rand(5, len(w), dtype=torch.float64) + 1, torch.rand(1, 24, 1, 1, dtype=torch.float64)
    curvature = WeightCurvature({"d.weight": inputs}, Curvature({"d.weight": samples}, 8))
    found = WEIGHT_SCORES["hap"](traced.module, ("d.weight",), curvature)["d.weight"]
    for out, channel, row, column in ((0, 0, 0, 0), (3, 7, 2, 1), (23, 23, 2, 2)):
        share = inputs[0, channel, 0, 0] / (9 * inputs.sum())
        expected = 0.5 * w[out, channel, row, column] ** 2 * samples.mean() * share
        assert float(found[out, channel, row, column]) == pytest.approx(float(expected), rel=1e-9)


def test_a_weight_that_is_not_finite_is_named() -> None:
    traced = _traced()
    with torch.no_grad():
        traced.module.get_parameter("d.weight")[0, 0, 0, 0] = torch.nan
    with pytest.raises(EdgepruneError, match=r"d\.weight holds weights that are not finite"):
        _masks(traced, "2:4")


def test_every_name_of_scores_scores_weights() -> None:
    assert set(WEIGHT_SCORES) == set(get_args(ScoreName))
