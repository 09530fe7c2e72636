"""Multiply-adds, against PyTorch's own flop counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.model.count import macs
from edgeprune.model.products import summed_axes
from edgeprune.model.traced import trace
from tests.zoo import SHAPE, ZOO, build


@pytest.mark.parametrize("name", list(ZOO))
def test_multiply_adds_are_half_of_torch_s_flops(name: str) -> None:
    traced = trace(build(name), SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        traced.module(traced.example(batch=1))
    assert macs(traced) == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("equation", "ranks", "summed"),
    [
        ("bihd,bjhd->bhij", (4, 4), {"d": [(0, 3), (1, 3)]}),
        ("...ij, ...jk -> ...ik", (4, 4), {"j": [(0, 3), (1, 2)]}),
        ("ij,jk", (2, 2), {"j": [(0, 1), (1, 0)]}),
        ("bc,dc->b", (2, 2), {"c": [(0, 1), (1, 1)], "d": [(1, 0)]}),
    ],
)
def test_an_einsum_sums_over_the_letters_that_its_output_lacks(
    equation: str, ranks: tuple[int, int], summed: dict[str, list[tuple[int, int]]]
) -> None:
    assert summed_axes(equation, ranks) == summed


def test_an_ellipsis_counts_too() -> None:
    class Spread(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(12, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.einsum("...ij,...kj->...ik", x, x).mean((1, 2)))

    assert macs(trace(Spread(), SHAPE)) == 3 * 12 * 12 * 12 + 12 * 5
