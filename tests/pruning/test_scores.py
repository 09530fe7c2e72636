"""Scores against their formulas, written out."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.groups import channel_groups
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import trace
from edgeprune.pruning import hap, magnitude
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.score import Scores
from edgeprune.spec.methods import MethodName
from tests.zoo import SHAPE, build


def test_hap_is_the_floored_trace_times_the_mean_square_summed_over_the_unit() -> None:
    traced = trace(build("Residual"), SHAPE)
    groups = channel_groups(provenance(traced))
    parameters = dict(traced.module.named_parameters())
    generator = torch.Generator().manual_seed(0)
    per_probe = {
        w: torch.randn(6, parameters[w].shape[0], generator=generator) + 0.3 for g in groups for w in g.producers
    }
    found = hap.scores(traced.module, groups, Curvature(per_probe, 8))
    for group in groups:
        for i in range(len(group.units)):
            expected = 0.0
            for weight in group.producers:
                for channel in group.places[(weight, 0)][i].tolist():
                    w = parameters[weight][channel].detach()
                    trace_cc = float(per_probe[weight][:, channel].mean())
                    expected += max(trace_cc, 0.0) / (2 * w.numel()) * float(w.square().sum())
            assert float(found.value[group.name][i]) == pytest.approx(expected, rel=1e-5)


def test_magnitude_is_the_mean_relative_norm() -> None:
    traced = trace(build("Residual"), SHAPE)
    groups = channel_groups(provenance(traced))
    found = magnitude.scores(traced.module, groups)
    group = next(g for g in groups if g.name == "a.0")
    norms = traced.module.get_parameter("a.0.weight").detach().flatten(1).norm(dim=1).double()
    torch.testing.assert_close(found.value["a.0"], norms[group.places[("a.0.weight", 0)][:, 0]] / norms.mean())


def test_certainty_counts_pairs_across_the_cut() -> None:
    value = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)
    sure = Scores({"g": value}, {"g": torch.full((3,), 1e-6, dtype=torch.float64)})
    unsure = Scores({"g": value}, {"g": torch.full((3,), 2.0, dtype=torch.float64)})
    assert hap.certain_share(sure, {"g": 1}, 0.95) == 1.0
    assert hap.certain_share(unsure, {"g": 2}, 0.95) == 0.5
    assert hap.certain_share(unsure, {"g": 3}, 0.95) == 1.0


def test_every_method_name_has_a_method() -> None:
    assert set(METHODS) == set(get_args(MethodName))
