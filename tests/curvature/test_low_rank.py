"""Eigenpairs and diagonal of the Hessian on live weights, against the matrix written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.curvature import low_rank as module
from edgeprune.curvature.low_rank import low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.model.traced import Traced, trace

WEIGHTS = ["a.weight", "b.weight"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.softplus(self.n(self.a(x))).mean((2, 3)))


def _problem() -> tuple[Traced, Tensor, Tensor]:
    torch.manual_seed(0)
    return trace(Net().double().eval(), (2, 5, 5)), torch.randn(24, 2, 5, 5).double(), torch.randint(0, 4, (24,))


def _written_out(traced: Traced, x: Tensor, y: Tensor, by_batch: bool) -> tuple[Tensor, Tensor]:
    """Hessian and gradient by the flat weights."""
    net = Net().double()
    net.load_state_dict(dict(traced.module.named_parameters()) | dict(traced.module.named_buffers()), strict=False)
    net.train(by_batch)
    shapes = [net.get_parameter(name).shape for name in WEIGHTS]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        given = {n: p.view(s) for n, p, s in zip(WEIGHTS, parts, shapes, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(net, given, (x,)), y)

    flat = torch.cat([net.get_parameter(name).detach().flatten() for name in WEIGHTS])
    return torch.autograd.functional.hessian(loss, flat)


@pytest.mark.parametrize("by_batch", [False, True])
def test_the_pairs_are_those_of_the_live_block(by_batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1e-2)
    monkeypatch.setattr(module, "ROUNDS", 12)
    traced, x, y = _problem()
    h = _written_out(traced, x, y, by_batch)
    live = torch.ones(len(h), dtype=torch.bool)
    live[::5] = False
    block = h * live[:, None] * live[None, :]
    values = torch.linalg.eigvalsh(block).flip(0)[:3]
    found = low_rank(traced, WEIGHTS, live, x, y, 3, Probing(batch_size=len(x)), "mean", by_batch=by_batch)
    assert torch.allclose(found.values.double(), values, rtol=2e-2)
    assert float(found.vectors[~live].abs().max()) == 0
    for value, vector in zip(found.values, found.vectors.T, strict=True):
        assert float((block @ vector.double() - value * vector.double()).norm()) < 2e-2 * float(values[0])
    mean = found.diagonal()[live].mean()
    assert torch.allclose(found.rest, mean.expand_as(found.rest))


def test_the_fisher_remainder_is_never_below_the_mean() -> None:
    traced, x, y = _problem()
    live = torch.ones(sum(traced.module.get_parameter(name).numel() for name in WEIGHTS), dtype=torch.bool)
    found = low_rank(traced, WEIGHTS, live, x, y, 2, Probing(batch_size=len(x)), "fisher")
    floor = float(found.diagonal().mean())
    assert float(found.rest.min()) >= floor * (1 - 1e-6)
    assert float(found.rest.max()) > floor * 1.2
