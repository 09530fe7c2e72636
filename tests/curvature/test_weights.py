"""The factored diagonal against the full Hessian, and its inputs' moments against loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.curvature.weights import WeightCurvature, input_moments
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent
from tests import zoo


def _layer() -> tuple[Traced, Tensor, Tensor]:
    torch.manual_seed(0)
    traced = trace(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4)).double(), (6,))
    return traced, torch.randn(12, 6).double(), torch.randint(0, 4, (12,))


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    """A squared error, under which a linear layer's Hessian is a Kronecker product."""
    wanted = functional.one_hot(labels, 4).double()
    return (outputs - wanted).square().sum(1).mean()


def test_of_a_linear_layer_it_is_the_diagonal_of_the_full_hessian() -> None:
    traced, x, y = _layer()
    weight = traced.module.get_parameter("1.weight")
    (gradient,) = torch.autograd.grad(_squared(traced.module(x), y), [weight], create_graph=True)
    rows = [torch.autograd.grad(g, weight, retain_graph=True)[0].flatten() for g in gradient.flatten()]
    exact = torch.stack(rows).diagonal().view(4, 6)
    truth = Curvature({"1.weight": exact.sum(1).expand(2, 4)}, 12)
    found = WeightCurvature(input_moments(traced, ["1.weight"], x, 5), truth)
    torch.testing.assert_close(found.diagonal("1.weight", exact.shape), exact)
    estimated = channel_traces(traced, {"1.weight": 0}, x, y, Probing(probes=300), silent, loss=_squared)
    diagonal = WeightCurvature(found.inputs, estimated).diagonal("1.weight", exact.shape)
    assert float((diagonal - exact).norm() / exact.norm()) < 0.1


def test_without_traces_only_the_order_within_an_output_channel_is_told() -> None:
    traced, x, _ = _layer()
    moments = input_moments(traced, ["1.weight"], x, 12)
    found = WeightCurvature(moments, None).diagonal("1.weight", torch.Size((4, 6)))
    torch.testing.assert_close(found.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(found[2] / found[2, 0], x.square().mean(0) / x[:, 0].square().mean())


def test_the_trace_is_the_layer_s_with_its_standard_error_as_floor() -> None:
    def row_sums(samples: list[list[float]]) -> Tensor:
        curvature = Curvature({"w": torch.tensor(samples)}, 8)
        return WeightCurvature({"w": torch.ones(1, 3)}, curvature).diagonal("w", torch.Size((2, 3))).sum(1)

    torch.testing.assert_close(row_sums([[1.0, 5.0], [3.0, 7.0]]), torch.tensor([4.0, 4.0], dtype=torch.float64))
    noise = torch.tensor([2 / 3**0.5 / 2] * 2, dtype=torch.float64)
    torch.testing.assert_close(row_sums([[-1.0, 0.0], [1.0, 0.0], [-3.0, 0.0]]), noise)


@pytest.mark.parametrize("name", ["Grouped", "Depthwise", "Shared"])
def test_moments_are_those_of_the_channels_that_each_weight_reads(name: str) -> None:
    traced = trace(zoo.build(name), zoo.SHAPE)
    x = torch.randn(6, *zoo.SHAPE)
    seen: dict[str, list[tuple[Tensor, int]]] = {}

    class Watch(torch.fx.Interpreter):
        def call_function(self, target, args, kwargs):
            if target is torch.ops.aten.conv2d.default:
                weight = next(n for n, p in traced.module.named_parameters() if p is args[1])
                seen.setdefault(weight, []).append((args[0], args[6] if len(args) > 6 else 1))
            return super().call_function(target, args, kwargs)

    with torch.no_grad():
        Watch(traced.module).run(x)
    assert seen
    found = input_moments(traced, [*seen], x, 4)
    for weight, inputs in seen.items():
        shape = traced.module.get_parameter(weight).shape
        for out in range(shape[0]):
            for i in range(shape[1]):
                groups = inputs[0][1]
                channel = out // (shape[0] // groups) * shape[1] + i
                read = torch.cat([value[:, channel].flatten() for value, _ in inputs])
                expected = float(read.double().square().mean())
                assert float(found[weight].expand(shape)[out, i, 0, 0]) == pytest.approx(expected, rel=1e-6)
