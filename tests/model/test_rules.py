"""The table of rules against brute force: zero a channel, see which elements of an operator's output move."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.model.provenance import provenance
from edgeprune.model.traced import trace

CHANNELS, SIDE = 12, 4
Operator = Callable[[Tensor], Tensor]


def _split_and_swap(x: Tensor) -> Tensor:
    a, b, c = x.split([2, 6, 4], 1)
    return torch.cat([c, b, a], 1)


# Every operator takes `[batch, 12, 4, 4]`; what leaves it may have any shape.
ROWS: dict[str, Operator] = {
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "clamp": lambda x: x.clamp(-1, 1),
    "add of a number": lambda x: x + 3,
    "masked_fill": lambda x: x.masked_fill(x > 9, 0.0),
    "where": lambda x: torch.where(x > 9, x * 2, x),
    "view": lambda x: x.view(x.shape[0], 3, 4, 16),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(1, (2, 6)),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(1, 3),
    "movedim": lambda x: x.movedim(1, -1),
    "slice": lambda x: x[:, 2:11:2],
    "select": lambda x: x.view(x.shape[0], 3, 4, 4, 4).select(1, 1),
    "narrow": lambda x: x.narrow(1, 3, 5),
    "split and cat": _split_and_swap,
    "chunk": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "unbind and stack": lambda x: torch.stack(x.unbind(1)[:5], 3),
    "tensor_split": lambda x: torch.cat(x.tensor_split(5, 1)[::-1], 1),
    "squeeze": lambda x: x.unsqueeze(2).squeeze(2),
    "expand": lambda x: x.unsqueeze(2).expand(-1, -1, 3, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll((5, 1), (1, 2)),
    "index": lambda x: x[:, torch.tensor([3, 3, 0, 11])],
    "index_select": lambda x: x.index_select(1, torch.tensor([7, 1, 2])),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "pad": lambda x: functional.pad(x, (1, 2, 0, 1)),
    "pad by reflection": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "avg_pool2d": lambda x: functional.avg_pool2d(x, 3, 1),
    "adaptive_avg_pool2d": lambda x: functional.adaptive_avg_pool2d(x, 2),
    "interpolate": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "mean over space": lambda x: x.mean((2, 3)),
    "amax over space": lambda x: x.amax((2, 3), keepdim=True),
    "max over space": lambda x: x.max(2)[0],
    "max of two": lambda x: torch.max(x, x * 2),
    "var over space": lambda x: x.var((2, 3)),
    "norm over space": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
    "softmax over space": lambda x: x.flatten(2).softmax(-1),
    "cumsum over space": lambda x: x.cumsum(3),
    "im2col": lambda x: functional.unfold(x, 2),
    "col2im": lambda x: functional.fold(functional.unfold(x, 2), (4, 4), 2),
    "pixel_shuffle": lambda x: functional.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: functional.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: functional.channel_shuffle(x, 3),
    "glu": lambda x: functional.glu(x, 1),
    "a gate": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "a table of positions": lambda x: x + torch.linspace(0, 1, CHANNELS * 16).view(CHANNELS, 4, 4),
    "a product over tokens": lambda x: torch.ones(16, 16) @ x.flatten(2).transpose(1, 2),
    "a scaled dot product": lambda x: functional.scaled_dot_product_attention(
        torch.ones(x.shape[0], 4, 2), torch.ones(x.shape[0], 16, 2), x.flatten(2).transpose(1, 2)
    ),
    "einsum": lambda x: torch.einsum("bij,bjc->bic", x.new_ones(x.shape[0], 16, 16), x.flatten(2).transpose(1, 2)),
}


class _Row(nn.Module):
    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.make, self.operator = nn.Conv2d(3, CHANNELS, 1), operator
        with torch.no_grad():
            width = operator(torch.zeros(2, CHANNELS, SIDE, SIDE)).flatten(1).shape[1]
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.operator(self.make(x)).clone(memory_format=torch.contiguous_format).flatten(1))


class _Watch(torch.fx.Interpreter):
    """Runs a graph up to the operator's output, with the producer's channels changed or not."""

    def __init__(self, module: torch.fx.GraphModule, node: str) -> None:
        super().__init__(module, garbage_collect_values=False)
        self._node = node

    def value(self, x: Tensor) -> Tensor:
        self.run(x)
        return next(v for n, v in self.env.items() if n.name == self._node)


@pytest.mark.parametrize("name", ROWS)
def test_an_element_moves_with_the_channel_of_its_label_and_with_no_other(name: str) -> None:
    torch.manual_seed(0)
    traced = trace(_Row(ROWS[name]), (3, SIDE, SIDE))
    found = provenance(traced)
    watched = next(n.name for n in traced.module.graph.nodes if n.op == "call_function" and "clone" in str(n.target))
    labels, out = found.nodes[watched], found.axes["make.weight"][0]
    x = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        before = _Watch(traced.module, watched).value(x)
        everything = torch.zeros_like(before, dtype=torch.bool)
        for unit in out.unique().tolist():
            weight = traced.module.get_parameter("make.weight")
            kept = weight.clone()
            weight[out == unit] += torch.randn_like(weight[out == unit]) * 5
            moved = _Watch(traced.module, watched).value(x) != before
            weight.copy_(kept)
            assert not bool((moved & (labels.expand(before.shape) != unit)).any())
            everything |= moved
        assert bool(everything.any())


TIED: dict[str, tuple[Operator, int]] = {
    "softmax over channels": (lambda x: x.softmax(1), 1),
    "channels in groups of three": (lambda x: x.view(x.shape[0], 4, 3, 4, 4).softmax(2), 4),
    "halves are multiplied": (lambda x: x[:, :6] * x[:, 6:], 6),
    "neighbours are added": (lambda x: x[:, ::2] + x[:, 1::2], 6),
    "a pixel shuffle": (lambda x: functional.pixel_shuffle(x, 2), 3),
    "a sorted axis": (lambda x: x.sort(1)[0], 1),
}


@pytest.mark.parametrize("name", TIED)
def test_what_is_mixed_is_one_unit(name: str) -> None:
    operator, classes = TIED[name]
    found = provenance(trace(_Row(operator), (3, SIDE, SIDE)))
    assert found.axes["make.weight"][0].unique().numel() == classes
