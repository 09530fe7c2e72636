"""The steps of `random_graphs`: each builds its layers, for what it finds, from one random number generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as f

SIDE = 8
Draw = random.Random
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Here:
    """What a step finds: `past` holds channels and side of all tensors so far, the last being its input's."""

    past: list[tuple[int, int]]

    @property
    def width(self) -> int:
        return self.past[-1][0]

    @property
    def side(self) -> int:
        return self.past[-1][1]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.width, self.side, self.side)


class Step(nn.Module):
    """Layers and what is done with them."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) and part.is_floating_point() else part)

    def forward(self, x: Tensor, past: list[Tensor]) -> Tensor:
        return self.function(self, x, past)


def width(draw: Draw, multiple: int = 1) -> int:
    return multiple * draw.randint(max(2, 4 // multiple), max(3, 24 // multiple))


def _divisor(draw: Draw, n: int, among: Sequence[int] = (2, 3, 4)) -> int:
    return draw.choice([d for d in among if n % d == 0 and n > d] or [1])


def _norm(draw: Draw, width: int) -> nn.Module:
    return draw.choice([nn.BatchNorm2d, nn.Identity, nn.BatchNorm2d])(width)


def _act(draw: Draw) -> nn.Module:
    kinds = [nn.ReLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.SiLU, nn.ReLU6, nn.LeakyReLU, nn.Identity]
    return draw.choice(kinds)()


def conv_of(draw: Draw, i: int, o: int, groups: int = 1) -> nn.Sequential:
    k = draw.choice([1, 3])
    conv = nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=draw.random() < 0.5)
    return nn.Sequential(conv, _norm(draw, o), _act(draw))


def _layers(part: str = "a") -> Callable[[Any, Tensor, list[Tensor]], Tensor]:
    return lambda s, x, _: getattr(s, part)(x)


def conv(draw: Draw, here: Here) -> Step:
    return Step(_layers(), a=conv_of(draw, here.width, width(draw)))


def grouped(draw: Draw, here: Here) -> Step:
    groups = _divisor(draw, here.width)
    return Step(_layers(), a=conv_of(draw, here.width, groups * draw.randint(2, 6), groups))


def depthwise(draw: Draw, here: Here) -> Step:
    c = here.width
    return Step(_layers(), a=conv_of(draw, c, c * draw.choice([1, 1, 2]), c))


def twice(_: Draw, here: Here) -> Step:
    return Step(lambda s, x, _: s.a(s.a(x)), a=nn.Conv2d(here.width, here.width, 1))


def transposed(draw: Draw, here: Here) -> Step:
    groups = _divisor(draw, here.width, (1, 2))
    return Step(_layers(), a=nn.ConvTranspose2d(here.width, groups * draw.randint(2, 8), 3, padding=1, groups=groups))


def residual(draw: Draw, here: Here) -> Step:
    mine = draw.choice([lambda s, x, _: x + s.a(x), lambda s, x, _: x * s.a(x), lambda s, x, _: s.a(x) - 0.5 * x])
    return Step(mine, a=conv_of(draw, here.width, here.width, _divisor(draw, here.width, (1, 2))))


def _earlier(draw: Draw, here: Here) -> int:
    """One of the tensors so far of this picture size; the last one is."""
    return draw.choice([i for i, (_, side) in enumerate(here.past) if side == here.side])


def shortcut(draw: Draw, here: Here) -> Step:
    at = _earlier(draw, here)
    return Step(lambda s, x, past: s.a(x) + past[at], a=nn.Conv2d(here.width, here.past[at][0], 1))


def option_a(draw: Draw, here: Here) -> Step:
    low, high = draw.randint(0, 3), draw.randint(0, 3)
    mine = draw.random() < 0.5  # the longer way is a convolution, or nothing
    wide = here.width + low + high
    return Step(
        lambda s, x, _: f.pad(x, (0, 0, 0, 0, low, high)) + (s.a(x) if mine else 0.0),
        a=conv_of(draw, here.width, wide),
    )


def concat(draw: Draw, here: Here) -> Step:
    at = _earlier(draw, here)
    order = draw.sample(range(3), draw.randint(2, 3))

    def run(s: Any, x: Tensor, past: list[Tensor]) -> Tensor:
        parts = [s.a(x), x, past[at]]
        return torch.cat([parts[i] for i in order], 1)

    return Step(run, a=conv_of(draw, here.width, 6))


def split(draw: Draw, here: Here) -> Step:
    first = draw.randint(1, here.width - 1)
    sizes = [first, here.width - first]
    back = draw.random() < 0.5

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        a, b = x.split(sizes, 1)
        return torch.cat([s.a(b), a] if back else [a, s.a(b)], 1)

    return Step(run, a=conv_of(draw, sizes[1], width(draw)))


def chunked(draw: Draw, here: Here) -> Step:
    joined = draw.choice([torch.mul, torch.add, torch.maximum, lambda a, b: torch.cat([b, a], 1)])

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        a, b = s.a(x).chunk(2, 1)
        return joined(a, b.sigmoid())

    return Step(run, a=nn.Conv2d(here.width, 2 * draw.randint(2, 10), 1))


def sliced(draw: Draw, here: Here) -> Step:
    start, step = draw.randint(0, here.width // 3), draw.choice([1, 1, 2]) if here.width > 6 else 1
    stop = draw.randint(start + 2 * step, here.width + 1)
    return Step(lambda s, x, _: torch.cat([x[:, start:stop:step], s.a(x)], 1), a=nn.Conv2d(here.width, 4, 1))


def shuffle(draw: Draw, here: Here) -> Step:
    groups = _divisor(draw, here.width)
    if draw.random() < 0.5:
        return Step(_layers(), a=nn.ChannelShuffle(groups))

    def run(_s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    return Step(run)


def nest(draw: Draw, here: Here) -> Step:
    """Views in views, permuted between, and back; some part with the channel axis on."""
    g, side = _divisor(draw, here.width), here.side
    order = draw.sample(range(4), 4)  # of group, channel in group, row, column

    def run(_s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        n, c = x.shape[:2]
        parts = x.view(n, g, c // g, side, side).permute(0, *(1 + i for i in order))
        whole = parts.flatten(1, 2) if order[0] < 2 and order[1] < 2 else parts
        parts = whole.relu().reshape(n, *parts.shape[1:])
        return parts.permute(0, *(1 + order.index(i) for i in range(4))).reshape(n, c, side, side)

    return Step(run)


def unbound(draw: Draw, here: Here) -> Step:
    k = _divisor(draw, here.width)
    order = draw.sample(range(k), k)
    summed = draw.random() < 0.3

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        parts = x.unflatten(1, (k, -1)).unbind(1)
        again = torch.stack([parts[i] for i in order], 1)
        return s.a(again.sum(1)) if summed else again.flatten(1, 2)

    return Step(run, a=nn.Conv2d(here.width // k, 8, 1) if summed else nn.Identity())


def gate(draw: Draw, here: Here) -> Step:
    c, inner, first = here.width, draw.randint(2, 8), draw.random() < 0.5
    last = draw.choice([1, c, c])

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True) if first else f.adaptive_avg_pool2d(x, 1)
        return x * s.b(s.a(pooled).relu()).sigmoid()

    return Step(run, a=nn.Conv2d(c, inner, 1), b=nn.Conv2d(inner, last, 1))


def scaled(draw: Draw, here: Here) -> Step:
    shape = draw.choice([(here.width, 1, 1), (1, *here.shape), (1, 1, 1)])
    joined = draw.choice([torch.add, torch.mul])
    return Step(lambda s, x, _: joined(x, s.a), a=torch.randn(shape))


def prelu(draw: Draw, here: Here) -> Step:
    return Step(_layers(), a=nn.PReLU(draw.choice([1, here.width])))


def normed(draw: Draw, here: Here) -> Step:
    c = here.width
    if draw.random() < 0.5:
        return Step(_layers(), a=nn.GroupNorm(_divisor(draw, c, (1, 2, 4)), c))
    return Step(lambda s, x, _: s.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), a=nn.LayerNorm(c))


def pooled(draw: Draw, here: Here) -> Step:
    kinds = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(4), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)]
    return Step(_layers(), a=draw.choice(kinds if here.side == SIDE else kinds[3:]))


def resized(draw: Draw, here: Here) -> Step:
    if here.side == SIDE:
        fold = draw.random() < 0.5
        return Step(lambda _s, x, _: f.pixel_unshuffle(x, 2) if fold else x[:, :, ::2, 1::2])
    if draw.random() < 0.5:
        return Step(lambda _s, x, _: f.interpolate(x, scale_factor=2, mode="nearest"))
    return Step(lambda s, x, _: f.pixel_shuffle(s.a(x), 2), a=nn.Conv2d(here.width, 4 * draw.randint(2, 6), 1))


def rearranged(draw: Draw, here: Here) -> Step:
    order = draw.sample(range(here.width), here.width)
    by = draw.randint(1, 3)
    kinds: list[Function] = [
        lambda x: x[:, order],
        lambda x: x.flip(1),
        lambda x: x.roll(by, 1),
        lambda x: x.roll((by, -by), (2, 3)),
        lambda x: x.repeat(1, 2, 1, 1),
        lambda x: x.repeat_interleave(2, 1),
        lambda x: torch.cat([x[:, i : i + 1] for i in order[:4]] + [x], 1),
        lambda x: f.pad(x, (0, 0, 0, 0, -1, 2)),
    ]
    mine = draw.choice(kinds)
    return Step(lambda _s, x, _: mine(x))


def across(draw: Draw, _: Here) -> Step:
    """Statistics over channels, kept beside them."""
    kinds: list[Function] = [
        lambda x: x * x.mean(1, keepdim=True),
        lambda x: x.softmax(1),
        lambda x: x - x.amax(1, keepdim=True),
        lambda x: f.normalize(x, dim=1),
        lambda x: x.cumsum(1),
        lambda x: torch.cat([x, x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1),
    ]
    mine = draw.choice(kinds)
    return Step(lambda _s, x, _: mine(x))


STEPS: dict[str, Callable[[Draw, Here], Step]] = {
    step.__name__: step
    for step in (
        conv, grouped, depthwise, twice, transposed, residual, shortcut, option_a, concat, split, chunked, sliced,
        shuffle, nest, unbound, gate, scaled, prelu, normed, pooled, resized, rearranged, across,
    )
}  # fmt: skip
