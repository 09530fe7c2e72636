"""Multiply-adds, against PyTorch's own flop counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.model.count import macs
from edgeprune.model.letters import contracted_axes
from edgeprune.model.traced import trace
from edgeprune.pruning.plan import survey
from tests.spellings import FORMS, Spellings
from tests.zoo import SHAPE, ZOO, build


@pytest.mark.parametrize("name", list(ZOO))
def test_multiply_adds_are_half_of_torch_s_flops(name: str) -> None:
    traced = trace(build(name), SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        traced.module(traced.example(batch=1))
    assert macs(traced) == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("equation", "ranks", "axes"),
    [
        ("bihd,bjhd->bhij", (4, 4), [(3, 3)]),
        ("...ij, ...jk -> ...ik", (4, 4), [(3, 2)]),
        ("...ij,jk", (3, 2), [(2, 0)]),
        ("ij,jk", (2, 2), [(1, 0)]),
        ("bhc,hdc->b", (3, 3), [(1, 0), (2, 2)]),
        ("bc,bc->bc", (2, 2), []),
        ("ii->i", (2,), []),
    ],
)
def test_an_einsum_sums_over_the_letters_of_both_factors_that_its_output_lacks(
    equation: str, ranks: tuple[int, ...], axes: list[tuple[int, int]]
) -> None:
    assert contracted_axes(equation, ranks) == axes


@pytest.mark.parametrize("form", list(FORMS))
def test_odd_spellings_count_too_in_the_graph_and_in_the_cost_model(form: str) -> None:
    traced = trace(Spellings(form), SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        traced.module(traced.example(batch=1))
    assert macs(traced) == counter.get_total_flops() / 2 + FORMS[form]
    ground = survey(traced)
    assert ground.cost.macs(ground.cost.units) == macs(traced)
