"""Tiny networks with one difficulty each beyond plain convolutions: attention, norms, shuffles, computed weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TOKENS = 16


class Embedding(nn.Module):
    """Patches of a 12x12 picture as 16 tokens, with a class token and positions; subclasses mix them."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 3, 3)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, TOKENS + 1, width))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.mix(x).mean(1))

    def mix(self, x: Tensor) -> Tensor:
        return x


class FusedAttention(Embedding):
    """A ViT block: one projection for q, k and v, unbound, layer norms, layer scale, a hidden width."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(24), nn.LayerNorm(24)
        self.qkv, self.project = nn.Linear(24, 72), nn.Linear(24, 24)
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 24)
        self.scale = nn.Parameter(torch.rand(24) + 0.5)

    def mix(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.scale * self.project(y)
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class ModuleAttention(Embedding):
    """torch's own multi-head attention, which lays heads and batch on one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)

    def mix(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


class BiasedAttention(Embedding):
    """Explicit products, a table of relative positions looked up by index, a temperature per head, cosine q and k."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.project = nn.Linear(24, 24), nn.Linear(24, 48), nn.Linear(24, 24)
        self.table = nn.Parameter(torch.randn(2 * TOKENS + 1, 3))
        self.temperature = nn.Parameter(torch.rand(3, 1, 1) + 0.5)
        places = torch.arange(TOKENS + 1)
        self.register_buffer("index", places[:, None] - places[None, :] + TOKENS)

    def mix(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q = functional.normalize(self.q(x).view(b, n, 3, 8).transpose(1, 2), dim=-1)
        k, v = self.kv(x).view(b, n, 2, 3, 8).permute(2, 0, 3, 1, 4)
        k = functional.normalize(k, dim=-1)
        scores = (q @ k.transpose(-2, -1)) * self.temperature + self.table[self.index].permute(2, 0, 1)
        return x + self.project((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class TalkingHeads(Embedding):
    """A linear layer over the heads, before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(24, 72), nn.Linear(24, 24)
        self.before, self.after = nn.Linear(4, 4), nn.Linear(4, 4)

    def mix(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 4, 6).permute(2, 0, 3, 1, 4)
        scores = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
        scores = self.after(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.project((scores @ v).transpose(1, 2).reshape(b, n, c))


class GroupedQueries(Embedding):
    """Six query heads on three key heads, with rotated positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(24, 48), nn.Linear(24, 24), nn.Linear(24, 24)
        self.project = nn.Linear(48, 24)
        self.register_buffer("cosine", torch.randn(TOKENS + 1, 8))
        self.register_buffer("sine", torch.randn(TOKENS + 1, 8))

    def _rotated(self, t: Tensor) -> Tensor:
        first, second = t.chunk(2, -1)
        return t * self.cosine + torch.cat([-second, first], -1) * self.sine

    def mix(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self._rotated(self.q(x).view(b, n, 6, 8).transpose(1, 2))
        k = self._rotated(self.k(x).view(b, n, 3, 8).transpose(1, 2))
        v = self.v(x).view(b, n, 3, 8).transpose(1, 2)
        y = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return x + self.project(y.transpose(1, 2).flatten(2))


class ChannelAttention(Embedding):
    """XCiT's attention: products over tokens, so that both sides of the scores are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(24, 72), nn.Linear(24, 24)

    def mix(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 4, 6).permute(2, 0, 3, 4, 1)
        scores = (functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1)
        return x + self.project((scores @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class TokenMixing(Embedding):
    """MLP-Mixer's layer over the tokens, and a root-mean-square norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.RMSNorm(24), nn.Linear(TOKENS + 1, 20), nn.Linear(20, TOKENS + 1)
        self.gate, self.out = nn.Linear(24, 64), nn.Linear(32, 24)

    def mix(self, x: Tensor) -> Tensor:
        x = x + self.down(functional.gelu(self.up(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        return x + self.out(functional.glu(self.gate(x), -1))


class Einsum(Embedding):
    """Attention in einsum's letters, with a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.project = (nn.Linear(24, 24) for _ in range(4))
        self.positions = nn.Parameter(torch.randn(17, 17, 8) * 0.1)

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (3, 8)) for t in (self.q(x), self.k(x), self.v(x)))
        scores = torch.einsum("bihd,bjhd->bhij", q, k) + torch.einsum("bihd,ijd->bhij", q, self.positions)
        return x + self.project(torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(2))


def _conv(i: int, o: int, k: int = 3, s: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Windows(nn.Module):
    """Attention in rolled windows of a picture, as in Swin, with a mask and a bias per head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 24, 3, 3), nn.LayerNorm(24), nn.Linear(24, 5)
        self.qkv, self.project = nn.Linear(24, 72), nn.Linear(24, 24)
        self.bias = nn.Parameter(torch.randn(1, 3, 4, 4))
        self.register_buffer("mask", torch.randn(4, 1, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-1, -1), (1, 2)).view(b, 2, 2, 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        q, k, v = self.qkv(y).view(-1, 4, 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) + self.bias
        scores = (scores.view(b, 4, 3, 4, 4) + self.mask).view(-1, 3, 4, 4).softmax(-1)
        y = self.project((scores @ v).transpose(1, 2).reshape(-1, 4, c))
        y = y.view(b, 2, 2, 2, 2, c).transpose(2, 3).reshape(b, h, w, c)
        return self.head((x + torch.roll(y, (1, 1), (1, 2))).mean((1, 2)))


class Norms(nn.Module):
    """Group norms of few and of many groups, an instance norm, a response norm over channels, a mean over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (
            nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 16), (16, 24), (24, 16), (16, 12))
        )
        self.few, self.many, self.one = nn.GroupNorm(2, 16), nn.GroupNorm(12, 24), nn.GroupNorm(1, 12)
        self.each, self.where = nn.InstanceNorm2d(16, affine=True), nn.Conv2d(2, 1, 3, padding=1)
        self.gain, self.head = nn.Parameter(torch.rand(1, 16, 1, 1)), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.few(self.a(x)))
        x = functional.relu(self.many(self.b(x)))
        x = self.each(self.c(x))
        energy = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        x = x * (self.gain * energy / (energy.mean(1, keepdim=True) + 1e-6)) + x
        x = x * torch.sigmoid(self.where(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))
        return self.head(self.one(self.d(x)).mean((2, 3)))


class Computed(nn.Module):
    """Kernels that are standardised and scaled before use, and a bias made by a small network from coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.gain, self.head = nn.Parameter(torch.rand(24, 1, 1, 1) + 0.5), nn.Linear(24, 5)
        self.places, self.make = nn.Parameter(torch.randn(6, 2), requires_grad=False), nn.Linear(2, 24)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.b.weight
        kernel = (kernel - kernel.mean((1, 2, 3), keepdim=True)) / kernel.std((1, 2, 3), keepdim=True) * self.gain
        x = functional.conv2d(functional.relu(self.a(x)), kernel, self.b.bias, padding=1)
        return self.head(functional.relu(x.mean((2, 3)) + self.make(self.places).mean(0)))


class Upwards(nn.Module):
    """Transposed convolutions (plain, depthwise, grouped), resampling, pixel shuffles, unfolded patches."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.up = _conv(3, 16, s=2), nn.ConvTranspose2d(16, 24, 2, 2)
        self.each, self.some = nn.ConvTranspose2d(24, 24, 3, 1, 1, groups=24), nn.ConvTranspose2d(24, 12, 1, groups=4)
        self.b, self.c, self.head = _conv(12, 16, s=2), nn.Conv2d(64, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.some(functional.relu(self.each(self.up(self.a(x)))))
        x = functional.interpolate(
            self.b(functional.pad(x, (1, 1, 1, 1), mode="reflect")), scale_factor=2, mode="bilinear"
        )
        x = self.c(functional.pixel_unshuffle(x, 2))
        b, c, h, w = x.shape
        x = functional.unfold(x, 2, stride=1).view(b, c * 4, h - 1, w - 1)
        return self.head(functional.pixel_shuffle(x, 2).mean((2, 3)))


class SplitAttention(nn.Module):
    """ResNeSt's choice between two halves, ShuffleNet's split and shuffle, channels rolled, flipped, picked."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.up = _conv(3, 32, groups=1), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 32, 1)
        self.b, self.c, self.d = _conv(8, 8), _conv(16, 12), _conv(6, 8)
        self.register_buffer("pick", torch.tensor([7, 0, 3, 3, 11, 5]))
        self.register_buffer("blur", torch.rand(8, 1, 3, 3))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        halves = self.a(x).view(b, 2, 16, *x.shape[2:])
        choice = self.up(functional.relu(self.down(halves.sum(1).mean((2, 3), keepdim=True))))
        x = (halves * choice.view(b, 2, 16, 1, 1).softmax(1)).sum(1)
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.b(right)], 1).view(b, 2, 8, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        x = torch.roll(self.c(x), (2, 1), (1, 2)).flip(1)
        x = functional.conv2d(self.d(x[:, self.pick]), self.blur, padding=1, groups=8)
        return self.head(x.mean((2, 3)))


class WholeGroups(nn.Module):
    """Many narrow groups, which go whole, and channels counted once more by repetition and by a dilated stack."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _conv(3, 24), _conv(24, 48, groups=12), _conv(48, 16)
        self.d, self.head = _conv(32, 8), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(self.b(self.a(x)))
        x = self.d(torch.cat([x.repeat_interleave(2, 1)[:, ::2], x.repeat(1, 2, 1, 1)[:, 16:]], 1))
        return self.head(torch.stack([x.mean((2, 3)), x.amax((2, 3))], 2).flatten(1))


MIXING: tuple[type[nn.Module], ...] = (
    FusedAttention,
    ModuleAttention,
    BiasedAttention,
    TalkingHeads,
    GroupedQueries,
    ChannelAttention,
    TokenMixing,
    Einsum,
    Windows,
    Norms,
    Computed,
    Upwards,
    SplitAttention,
    WholeGroups,
)
