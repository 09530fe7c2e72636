"""Exact Hessian-vector products of the loss on an exported graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Loss = Callable[[Tensor, Tensor], Tensor]


class GradientGraph:
    """The loss's gradient on one batch, kept differentiable, so that each product costs one backward pass.

    Double back-propagation (Pearlmutter 1994): `Hv = d(g . v)/dw` with `g = dL/dw`. The network runs in eval mode,
    as its graph says. Holds all activations of two passes; drop it before building the next batch's.
    """

    def __init__(self, module: nn.Module, weights: Sequence[Tensor], x: Tensor, y: Tensor, loss: Loss) -> None:
        self._weights = list(weights)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self._gradients = torch.autograd.grad(loss(module(x), y), self._weights, create_graph=True)

    def product(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Return `H v` for one vector per weight, shapes as the weights'."""
        products = torch.autograd.grad(
            self._gradients, self._weights, grad_outputs=list(vectors), retain_graph=True, materialize_grads=True
        )
        return [product.detach() for product in products]
