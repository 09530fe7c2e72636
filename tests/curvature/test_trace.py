"""Products and traces against the full Hessian."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgeprune.curvature.curvature import load_curvature, save_curvature
from edgeprune.curvature.hvp import GradientGraph
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent


class Small(nn.Module):
    """Convolution, BatchNorm in eval mode, a smooth nonlinearity, a shared weight, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.b, self.head = nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Linear(3, 4)

    def forward(self, x):
        x = torch.tanh(self.bn(self.a(x)))
        return self.head(torch.tanh(self.b(self.b(x))).mean((2, 3)))


def _problem() -> tuple[Traced, list[str], torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    module = Small().double()
    nn.init.uniform_(module.bn.running_var, 0.5, 2)
    traced = trace(module, (2, 6, 6))
    return (
        traced,
        ["a.weight", "b.weight", "head.weight"],
        torch.randn(10, 2, 6, 6).double(),
        torch.randint(0, 4, (10,)),
    )


def full_hessian(traced: Traced, weights: list[str], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Slow and obvious: the Hessian of the mean loss over the named weights, row by row."""
    parameters = dict(traced.module.named_parameters())
    chosen = [parameters[name] for name in weights]
    gradients = torch.autograd.grad(functional.cross_entropy(traced.module(x), y), chosen, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    rows = [torch.autograd.grad(entry, chosen, retain_graph=True) for entry in flat]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


def test_product_equals_the_full_hessian() -> None:
    traced, weights, x, y = _problem()
    parameters = dict(traced.module.named_parameters())
    chosen = [parameters[name] for name in weights]
    vectors = [torch.randn_like(w) for w in chosen]
    found = torch.cat(
        [p.reshape(-1) for p in GradientGraph(traced.module, chosen, x, y, functional.cross_entropy).product(vectors)]
    )
    expected = full_hessian(traced, weights, x, y) @ torch.cat([v.reshape(-1) for v in vectors])
    assert float((found - expected).norm() / expected.norm()) < 1e-10


def test_traces_converge_to_the_truth_with_calibrated_errors_whatever_the_batches() -> None:
    traced, weights, x, y = _problem()
    hessian = full_hessian(traced, weights, x, y).diagonal()
    parameters = dict(traced.module.named_parameters())
    truth, start = {}, 0
    for name in weights:
        shape = parameters[name].shape
        truth[name] = hessian[start : start + shape.numel()].reshape(shape[0], -1).sum(1)
        start += shape.numel()
    found = channel_traces(traced, dict.fromkeys(weights, 0), x, y, 2000, 4, 0, silent, lambda _: False)
    z = torch.cat([(found.trace(n).value - truth[n]) / found.trace(n).standard_error for n in weights])
    assert float(z.abs().max()) < 4
    assert 0.4 < float(z.square().mean()) < 2.5
    whole = channel_traces(traced, dict.fromkeys(weights, 0), x, y, 3, 10, 0, silent, lambda _: False)
    for name in weights:
        torch.testing.assert_close(found.per_probe[name][:3], whole.per_probe[name])


def test_it_stops_when_told_and_reads_back(tmp_path) -> None:
    traced, weights, x, y = _problem()
    found = channel_traces(
        traced, dict.fromkeys(weights, 0), x, y, 100, 10, 0, silent, lambda c: len(c.per_probe["a.weight"]) >= 8
    )
    assert found.trace("a.weight").samples == 8
    save_curvature(found, tmp_path / "c.safetensors")
    again = load_curvature(tmp_path / "c.safetensors")
    assert again.images == 10
    assert all(torch.equal(again.per_probe[n], found.per_probe[n]) for n in weights)
