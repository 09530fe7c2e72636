"""Formulas for a layer's gradients, image by image, against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeprune.curvature import layer_gradients
from edgeprune.curvature.layer_gradients import channel_norms, image_gradients, simple_layers
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import trace

CASES = {
    "few positions": (nn.Conv2d(6, 8, 3, padding=1), (6, 3, 3)),
    "many positions": (nn.Conv2d(3, 5, 3, padding=1), (3, 20, 20)),
    "strided, dilated, oblong": (nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 0), (2, 1)), (4, 9, 9)),
    "groups": (nn.Conv2d(6, 9, 3, groups=3), (6, 8, 8)),
    "depthwise, many positions": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 18, 18)),
    "1x1": (nn.Conv2d(5, 7, 1), (5, 4, 4)),
    "1x1 strided": (nn.Conv2d(5, 7, 1, 2), (5, 5, 5)),
    "one dimension": (nn.Conv1d(3, 4, 5, 2, 1), (3, 17)),
    "linear": (nn.Linear(5, 3), (5,)),
    "linear over tokens": (nn.Linear(5, 3), (7, 5)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at_once", [16 * 2**20, 1])
def test_they_are_those_of_each_image(name: str, at_once: int, monkeypatch) -> None:
    monkeypatch.setattr(layer_gradients, "AT_ONCE", at_once)
    torch.manual_seed(0)
    layer, shape = CASES[name]
    layer = layer.double()
    traced = trace(nn.Sequential(layer), shape)
    (found,) = simple_layers(traced, node_shapes(traced), ["0.weight"])
    x = torch.randn(4, *shape, dtype=torch.float64)
    slopes = [torch.randn_like(layer(x)) for _ in range(3)]
    expected = torch.stack([
        torch.stack([torch.autograd.grad(layer(x[n : n + 1]), layer.weight, slope[n : n + 1])[0] for n in range(4)])
        for slope in slopes
    ])  # fmt: skip
    torch.testing.assert_close(channel_norms(found, x, slopes), expected.flatten(3).square().sum(3))
    gradients = torch.cat([*image_gradients(found, x, slopes[0], layer.weight.shape)])
    torch.testing.assert_close(gradients, expected[0])
