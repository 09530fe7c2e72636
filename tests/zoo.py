"""Tiny networks, each with one difficulty for pruning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo_mixing import MIXING

SHAPE = (3, 12, 12)


def _conv(i: int, o: int, k: int = 3, s: int = 1, groups: int = 1, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=bias), nn.BatchNorm2d(o), nn.ReLU())


class Plain(nn.Module):
    """Convolutions in a row, with biases and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, 2, 1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.b(self.act(self.a(x)))).mean((2, 3)))


class Residual(nn.Module):
    """An identity shortcut added in place, and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = _conv(3, 16), _conv(16, 16)
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.c, self.d = _conv(16, 24, s=2), nn.Conv2d(24, 24, 3, padding=1)
        self.project, self.head = nn.Conv2d(16, 24, 1, 2), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.b(self.a(x))
        y += x
        x = functional.relu(y)
        return self.head((self.d(self.c(x)) + self.project(x)).relu().mean((2, 3)))


class OptionA(nn.Module):
    """Strided slices and zero channels around, as in the CIFAR ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = _conv(3, 8), _conv(8, 16, s=2)
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.c, self.head = _conv(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 5))
        x = functional.relu(self.b(self.a(x)) + short)
        return self.head(functional.avg_pool2d(self.c(x), 6).view(x.shape[0], -1))


class Depthwise(nn.Module):
    """Inverted residual: expand, depthwise (multiplier 1 and 2), project."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depth = _conv(3, 16, 1), _conv(16, 16, groups=16)
        self.twice, self.project = _conv(16, 32, groups=16), nn.Conv2d(32, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.depth(functional.relu6(self.expand(x))))
        return self.head(functional.adaptive_avg_pool2d(functional.hardswish(self.project(x)), 1).flatten(1))


class Grouped(nn.Module):
    """Convolutions in four groups."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 16), _conv(16, 24, groups=4), _conv(24, 16, groups=4)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x))).amax((2, 3)))


class Concat(nn.Module):
    """Branches concatenated, twice nested, then pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 8), _conv(8, 12), _conv(20, 16)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        ab = torch.cat([a, self.b(a)], 1)
        return self.head(self.pool(torch.cat([ab, self.c(ab)], 1)).mean((2, 3)))


class Split(nn.Module):
    """A channel axis split by chunk and by sizes, and one slice of it used again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 16), _conv(8, 8), _conv(24, 20)
        self.d, self.head = _conv(6, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        left, right = x.chunk(2, 1)
        x = self.c(torch.cat([left, self.b(right), x[:, 4:12]], 1))
        first, _, _ = x.split([6, 8, 6], 1)
        return self.head(self.d(first).mean((2, 3)))


class Flat(nn.Module):
    """Flattened pictures into a linear layer: a channel is many columns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _conv(3, 16, s=2), _conv(16, 12, s=2)
        self.hidden, self.head = nn.Linear(12 * 9, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.gelu(self.hidden(torch.flatten(self.b(self.a(x)), 1))))


class Gate(nn.Module):
    """Squeeze and excitation, and one map over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.up = _conv(3, 16), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.where, self.head = nn.Conv2d(16, 1, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = torch.sigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))
        x = x * gate
        return self.head((x * torch.sigmoid(self.where(x))).mean((2, 3)))


class Shared(nn.Module):
    """One convolution used twice, and a per-channel scale parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = _conv(3, 16), nn.Conv2d(16, 16, 3, padding=1)
        self.scale, self.head = nn.Parameter(torch.rand(16, 1, 1) + 0.5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = functional.relu(self.twice(x)) * self.scale
        return self.head(functional.relu(self.twice(x)).mean((2, 3)))


class Twice(nn.Module):
    """One block under two names of the tree, and one weight under two names of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = _conv(3, 16), nn.Conv2d(16, 16, 1)
        self.a = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.b, self.again, self.head = self.a, nn.Conv2d(16, 16, 1), nn.Linear(16, 5)
        self.again.weight = self.down.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(self.stem(x)))
        return self.head(self.again(functional.relu(self.down(x))).mean((2, 3)))


class Shuffle(nn.Module):
    """ShuffleNet's channel shuffle by view and transpose, and a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 16), _conv(16, 16, groups=2), _conv(16, 32)
        self.d, self.head = _conv(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        x = functional.pixel_shuffle(self.c(self.b(x)), 2)
        return self.head(self.d(x).mean((2, 3)))


class Unknown(nn.Module):
    """An operator without a rule in the middle (a sort of the channels), and a norm over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 16), _conv(16, 16), _conv(16, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(torch.sort(self.a(x), 1)[0])
        return self.head(self.norm(self.c(x).mean((2, 3))))


class Odd(nn.Module):
    """A PReLU per channel, an idle cast, zeros laid beside, and a batch axis that swallows the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16), _conv(16, 8)
        self.c, self.each, self.head = _conv(16, 8), nn.Conv2d(1, 1, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.act(self.a(x.float())))
        x = self.c(torch.cat([x, torch.zeros_like(x)], 1))
        n, c, h, w = x.shape
        x = self.each(x.reshape(n * c, 1, h, w)).reshape(n, c, h, w)
        return self.head(x.mean((2, 3)))


class Pieces(nn.Module):
    """Channels taken apart one by one, ShuffleNet's shuffle as one operator, a crop by negative padding."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = _conv(3, 8), _conv(8, 8), _conv(8, 12), _conv(10, 16)
        self.shuffle, self.head = nn.ChannelShuffle(2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat(self.a(x).split(1, 1)[::-1], 1)
        x = self.c(self.shuffle(self.b(x)))
        return self.head(self.d(functional.pad(x, (0, 0, 0, 0, -1, -1))).mean((2, 3)))


ZOO: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        Plain,
        Residual,
        OptionA,
        Depthwise,
        Grouped,
        Concat,
        Split,
        Flat,
        Gate,
        Shared,
        Twice,
        Shuffle,
        Unknown,
        Odd,
        Pieces,
        *MIXING,
    )
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Build a network with BatchNorm statistics that are not the identity, so that mistakes show."""
    torch.manual_seed(seed)
    module = ZOO[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.bias)
            nn.init.uniform_(part.weight, 0.5, 1.5)
        elif isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm)):
            for parameter in part.parameters():
                nn.init.uniform_(parameter, 0.5, 1.5)
    return module.eval()
