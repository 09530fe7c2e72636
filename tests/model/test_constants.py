"""Folding: what depends on no image is computed once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeprune.model.traced import trace

SHAPE = (3, 8, 8)


class _Masked(nn.Module):
    """A mask filled in place by slices, coordinates from a mesh, and a table of biases looked up with them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.randn(31, 4))

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros((8, 8))
        for count, rows in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
            mask[rows, 2:] = count
        rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        places = torch.stack([rows, columns], -1)
        places[:, :, 0] += 7
        table = self.table.clone()
        table[3:5].zero_()
        bias = table[places.sum(-1)].permute(2, 0, 1)
        return ((self.conv(x) + bias) * (mask == 1)).mean((2, 3))


class _Mixed(nn.Module):
    """A parameter that is used as it is, and in a computed one; a random part; a part that looks at the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 1, 1))
        self.register_buffer("place", torch.rand(3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.weight + self.place
        return (x * (self.weight.exp() / 2) + self.place + x.mean()).flatten(1)


class _Spare(nn.Module):
    """A second head that evaluation does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.spare = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return self.head(x) + self.spare(x) if self.training else self.head(x)


def test_parameters_that_evaluation_does_not_read_are_left_out() -> None:
    assert dict(trace(_Spare(), SHAPE).module.named_parameters()).keys() == {"head.weight", "head.bias"}


def _operators(module: torch.fx.GraphModule) -> set[str]:
    return {str(node.target).split(".")[1] for node in module.graph.nodes if node.op == "call_function"}


def test_masks_filled_in_place_and_tables_become_tensors() -> None:
    module = _Masked().eval()
    traced = trace(module, SHAPE)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(traced.module(x), module(x))
    assert _operators(traced.module) == {"conv2d", "add", "mul", "mean"}
    assert dict(traced.module.named_parameters()).keys() == {"conv.weight", "conv.bias", "table_folded"}
    assert not dict(traced.module.named_parameters())["table_folded"].grad_fn


def test_a_parameter_that_is_read_elsewhere_too_is_not_made_two_and_buffers_are_not_shared() -> None:
    module = _Mixed().eval()
    traced = trace(module, SHAPE)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(traced.module(x), module(x))
    assert dict(traced.module.named_parameters()).keys() == {"weight"}
    assert dict(traced.module.named_buffers()).keys() == {"place", "place_2"}
    traced.module(x).sum().backward()
    assert all(parameter.grad is not None for parameter in traced.module.parameters())
