"""The convolutions of products: their derivatives, and where graphs take them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeprune.curvature.convolution import convolution, make_twice_differentiable
from edgeprune.model.traced import trace

CASES = {
    "plain": (nn.Conv2d(3, 4, 3, padding=1), (3, 5, 5)),
    "strided, dilated, oblong": (nn.Conv2d(2, 4, (3, 2), (2, 1), (2, 0), (2, 1), bias=False), (2, 7, 6)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "one dimension": (nn.Conv1d(2, 3, 3, 2, 1), (2, 7)),
    "three dimensions": (nn.Conv3d(2, 2, 2), (2, 3, 3, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives_agree_with_differences(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = CASES[name]
    layer = layer.double()
    form = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    bias = layer.bias

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return convolution(x, weight, bias, form)

    torch.testing.assert_close(run(x, layer.weight), layer(x))
    assert torch.autograd.gradcheck(run, (x, layer.weight))
    assert torch.autograd.gradgradcheck(run, (x, layer.weight))
    fixed = x.detach()  # as of an image: only the weight is differentiated by
    assert torch.autograd.gradgradcheck(lambda weight: run(fixed, weight), (layer.weight,))


def test_a_graph_computes_what_it_did() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1, groups=2)).double()
    traced = trace(net, (3, 8, 8))
    x = torch.randn(3, 3, 8, 8).double()
    before = traced.module(x)
    make_twice_differentiable(traced.module)
    torch.testing.assert_close(traced.module(x), before)
    targets = [node.target for node in traced.module.graph.nodes]
    assert targets.count(convolution) == 1  # padding in words is torch's to resolve
