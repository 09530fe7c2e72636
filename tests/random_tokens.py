"""Steps of `random_graphs` that multiply activations, or take the pixels of a picture as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as f

from tests.random_steps import Draw, Here, Step, width


def tokens(draw: Draw, here: Here) -> Step:
    """Rows of pixels through linear layers, with a class token and positions on the way."""
    c, inner, n = here.width, width(draw), here.side**2
    token = draw.random() < 0.5

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        if token:
            rows = torch.cat([s.token.expand(rows.shape[0], -1, -1), rows], 1) + s.place
        rows = rows + s.b(f.gelu(s.a(rows)))
        return rows[:, rows.shape[1] - n :].transpose(1, 2).reshape(x.shape)

    parts: dict[str, Any] = {"token": torch.randn(1, 1, c), "place": torch.randn(1, n + 1, c)} if token else {}
    return Step(run, a=nn.Linear(c, inner), b=nn.Linear(inner, c), **parts)


def attention(draw: Draw, here: Here) -> Step:
    c, heads, dim = here.width, draw.choice([1, 2, 4]), draw.choice([2, 4, 6])
    fused, whole, biased = (draw.random() < 0.5 for _ in range(3))
    inner, n = heads * dim, here.side**2

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        if whole:
            q, k, v = s.a(rows).reshape(-1, n, 3, heads, dim).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (part.reshape(-1, n, heads, dim).transpose(1, 2) for part in s.a(rows).chunk(3, -1))
        if fused:
            out = f.scaled_dot_product_attention(q, k, v, attn_mask=s.table if biased else None)
        else:
            weights = (q * dim**-0.5) @ k.transpose(-2, -1)
            out = (weights + s.table if biased else weights).softmax(-1) @ v
        return (rows + s.b(out.transpose(1, 2).reshape(-1, n, inner))).transpose(1, 2).reshape(x.shape)

    return Step(run, a=nn.Linear(c, 3 * inner), b=nn.Linear(inner, c), table=torch.randn(1, heads, n, n))


def einsum(draw: Draw, here: Here) -> Step:
    """Queries and keys of the channels' axis against pictures: `[n, k, k]` affinities, and back."""
    inner = draw.randint(3, 8)

    def run(s: Any, x: Tensor, _: list[Tensor]) -> Tensor:
        q, k, v = s.q(x), s.k(x), s.v(x)
        affinity = torch.einsum("nchw,ndhw->ncd", q, k).sigmoid()
        return torch.einsum("ncd,ndhw->nchw", affinity, v)

    layers = {name: nn.Conv2d(here.width, width, 1) for name, width in zip("qkv", (6, inner, inner), strict=True)}
    return Step(run, **layers)


STEPS: dict[str, Callable[[Draw, Here], Step]] = {step.__name__: step for step in (tokens, attention, einsum)}
