"""Vision transformers (Dosovitskiy et al., arXiv:2010.11929, table 1), pre-norm, with torchvision's names.

State-dict names: `class_token`, `conv_proj`, `encoder.pos_embedding`, `encoder.layers.encoder_layer_0.ln_1`,
`...self_attention.in_proj_weight`, `...self_attention.out_proj`, `...mlp.0`, `...mlp.3`, `encoder.ln`, `heads.head`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_SIZE = 224
"""Of the position embedding: one position per patch of such an image, and one for the class token."""
EPSILON = 1e-6


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence with itself; parameters named as those of `nn.MultiheadAttention`.

    Written out, because that module's own fast path is one operator without linear layers to quantize.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, tokens, width]` to the same."""
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (
            part.unflatten(2, (self.heads, part.shape[2] // self.heads)).transpose(1, 2) for part in qkv.chunk(3, 2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return projected


class EncoderLayer(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, EPSILON)
        self.self_attention = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, EPSILON)
        # The checkpoints' numbers count two dropouts without weights: positions 2 and 4.
        self.mlp = nn.Sequential(
            OrderedDict((("0", nn.Linear(width, hidden)), ("1", nn.GELU()), ("3", nn.Linear(hidden, width))))
        )
        for linear in (self.mlp[0], self.mlp[2]):
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Encoder(nn.Module):
    """Position embedding, the layers, and a last LayerNorm."""

    def __init__(self, tokens: int, depth: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        self.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", EncoderLayer(width, heads, hidden)) for i in range(depth))
        )
        self.ln = nn.LayerNorm(width, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return out


class VisionTransformer(nn.Module):
    """Square patches of `patch` pixels, a class token in front of them, `depth` encoder layers."""

    def __init__(
        self,
        patch: int,
        depth: int,
        width: int,
        heads: int,
        num_classes: int,
        in_channels: int,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.conv_proj = nn.Conv2d(in_channels, width, patch, patch)
        self.encoder = Encoder((image_size // patch) ** 2 + 1, depth, width, heads, 4 * width)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, num_classes)))
        nn.init.trunc_normal_(self.conv_proj.weight, std=(in_channels * patch * patch) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        logits: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return logits
