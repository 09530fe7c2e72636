"""Small networks, each with one difficulty, and slow and obvious answers for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.model.traced import Traced, trace


class Smooth(nn.Module):
    """Convolution, BatchNorm in eval mode, a smooth nonlinearity, a weight used twice, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.b, self.head = nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Linear(3, 4)

    def forward(self, x):
        x = torch.tanh(self.bn(self.a(x)))
        return self.head(torch.tanh(self.b(self.b(x))).mean((2, 3)))


class Attention(nn.Module):
    """Patches, one attention with two heads, LayerNorm, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(2, 4, 3, stride=3), nn.LayerNorm(4)
        self.qkv, self.out, self.head = nn.Linear(4, 12), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        q, k, v = (t.unflatten(2, (2, 2)).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, 2))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(functional.gelu(x + self.out(mixed)).mean(1))


class Rectified(nn.Module):
    """ReLUs, pooling, strides, groups, a residual sum: piecewise linear in every layer's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.b, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.c = nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), dilation=(1, 1))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu(self.bn(self.a(x)))
        x = functional.relu(x + self.bn2(self.b(x)))
        x = functional.max_pool2d(functional.relu(self.c(x)), 2, 1)
        return self.head(x.mean((2, 3)))


NETWORKS: dict[str, type[nn.Module]] = {"smooth": Smooth, "attention": Attention, "rectified": Rectified}


def problem(name: str, images: int = 10) -> tuple[Traced, list[str], Tensor, Tensor]:
    """A network in float64 with its weights' names, images and labels."""
    torch.manual_seed(0)
    module = NETWORKS[name]().double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, -1, 2)
            nn.init.normal_(part.running_mean)
    traced = trace(module, (2, 6, 6))
    weights = [n for n, p in traced.module.named_parameters() if p.dim() > 1]
    return traced, weights, torch.randn(images, 2, 6, 6).double(), torch.randint(0, 4, (images,))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@sdpa_kernel(SDPBackend.MATH)
def full_hessian(traced: Traced, weights: list[str], x: Tensor, y: Tensor) -> Tensor:
    """The Hessian of the mean loss by the named weights, row by row."""
    chosen = [traced.module.get_parameter(name) for name in weights]
    gradients = torch.autograd.grad(functional.cross_entropy(traced.module(x), y), chosen, create_graph=True)
    return torch.stack([
        flat([*torch.autograd.grad(entry, chosen, retain_graph=True, materialize_grads=True)])
        for entry in flat([*gradients])
    ])  # fmt: skip


@sdpa_kernel(SDPBackend.MATH)
def full_gauss_newton(traced: Traced, weights: list[str], x: Tensor) -> Tensor:
    """The mean over images of `J' (diag(p) - p p') J`, J row by row."""
    chosen = [traced.module.get_parameter(name) for name in weights]
    total = 0.0
    for image in x:
        logits = traced.module(image[None])[0]
        jacobian = torch.stack([flat([*torch.autograd.grad(z, chosen, retain_graph=True)]) for z in logits])
        p = logits.detach().softmax(0)
        total = total + jacobian.T @ (p.diag() - p[:, None] * p[None]) @ jacobian / len(x)
    return total


def by_channel(traced: Traced, weights: list[str], diagonal: Tensor) -> dict[str, Tensor]:
    """Sums of a flat diagonal over each output channel's weights."""
    found, start = {}, 0
    for name in weights:
        shape = traced.module.get_parameter(name).shape
        found[name] = diagonal[start : start + shape.numel()].reshape(shape[0], -1).sum(1)
        start += shape.numel()
    return found


def symmetric(size: int, seed: int, shape: Callable[[Tensor], Tensor] = lambda v: v) -> Tensor:
    """A dense symmetric matrix in float64, whose eigenvalues are `shape` of random ones."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    values = shape(torch.randn(size, generator=generator, dtype=torch.float64))
    return basis @ values.diag() @ basis.T
