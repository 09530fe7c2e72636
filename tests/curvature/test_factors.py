"""The factored diagonal against the full Hessian."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeprune.curvature.factors import diagonal, rows_and_columns
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent


def _layer() -> tuple[Traced, torch.Tensor, torch.Tensor]:
    """One linear layer under a squared error, whose Hessian is a Kronecker product: inputs' moments x identity."""
    torch.manual_seed(0)
    traced = trace(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4)).double(), (6,))
    return traced, torch.randn(12, 6).double(), torch.randint(0, 4, (12,))


def _squared(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    wanted = functional.one_hot(labels, 4).double()
    return ((outputs - wanted) * torch.tensor([1.0, 2.0, 3.0, 4.0]).sqrt()).square().sum(1).mean()


def test_of_a_kronecker_product_it_is_exact() -> None:
    _, x, _ = _layer()
    moments = 2 * x.square().mean(0)
    exact = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None] * moments[None, :]
    torch.testing.assert_close(diagonal(rows_and_columns(exact)[None], exact.shape), exact)


def test_estimated_sums_lead_to_the_diagonal_of_the_full_hessian() -> None:
    traced, x, y = _layer()
    gradients = torch.autograd.grad(
        _squared(traced.module(x), y), [traced.module.get_parameter("1.weight")], create_graph=True
    )[0].reshape(-1)
    weight = traced.module.get_parameter("1.weight")
    exact = torch.stack(
        [torch.autograd.grad(g, weight, retain_graph=True)[0].reshape(-1)[i] for i, g in enumerate(gradients)]
    ).view(4, 6)
    found = channel_traces(
        traced, {"1.weight": 0}, x, y, 400, 12, 0, silent, lambda _: False, _squared, rows_and_columns
    )
    estimate = diagonal(found.per_probe["1.weight"], exact.shape)
    assert float((estimate - exact).norm() / exact.norm()) < 0.1


def test_rows_are_the_channel_traces() -> None:
    traced, x, y = _layer()
    both = channel_traces(
        traced, {"1.weight": 0}, x, y, 3, 12, 0, silent, lambda _: False, functional.cross_entropy, rows_and_columns
    ).per_probe["1.weight"]
    plain = channel_traces(traced, {"1.weight": 0}, x, y, 3, 12, 0, silent, lambda _: False).per_probe["1.weight"]
    torch.testing.assert_close(both[:, :4], plain)
    torch.testing.assert_close(both[:, :4].sum(1), both[:, 4:].sum(1))
