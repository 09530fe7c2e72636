"""Networks of a residual block and of an attention block, in double, and their exported graphs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from edgeprune.model.traced import Traced, trace


class Block(nn.Module):
    """`stem`, then a residual block with BatchNorm, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.a, self.na = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.nb = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        y = self.nb(self.b(functional.relu(self.na(self.a(x)))))
        return self.head(functional.relu(x + y).mean((2, 3)))


class Attending(nn.Module):
    """A class token, one attention with separate q, k and v, and a perceptron, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.embed, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.embed(x)], 1)
        n = self.norm(x)
        q, k, v = (part(n).unflatten(2, (2, 4)).transpose(1, 2) for part in (self.q, self.k, self.v))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(functional.gelu(self.up(x)))
        return self.head(x[:, 0])


def block(seed: int = 0) -> tuple[Traced, Tensor]:
    """The network and 96 images."""
    torch.manual_seed(seed)
    module = Block().double().eval()
    for norm in (module.na, module.nb):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return trace(module, (3, 8, 8)), torch.randn(96, 3, 8, 8, dtype=torch.float64)


def attending(seed: int = 0) -> tuple[Traced, Tensor]:
    """The network and 96 sequences of 5."""
    torch.manual_seed(seed)
    return trace(Attending().double().eval(), (5, 6)), torch.randn(96, 5, 6, dtype=torch.float64)


def twin(traced: Traced) -> Traced:
    return Traced(copy.deepcopy(traced.module), traced.input_shape)


def reader(module: fx.GraphModule, weight: str) -> fx.Node:
    """The node that reads a weight."""
    (stored,) = [node for node in module.graph.nodes if node.op == "get_attr" and node.target == weight]
    (node,) = stored.users
    return node


def half(shape: torch.Size, seed: int = 0) -> Tensor:
    """A mask that keeps about half."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
