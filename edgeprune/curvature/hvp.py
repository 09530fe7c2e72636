"""Products of a vector with the Hessian or the Gauss-Newton matrix of the loss on one batch, exact and without either.

Both are double back-propagation on the exported graph (Pearlmutter 1994), attention by its mathematical form, which can
be differentiated twice. A graph holds the activations of two passes; every product on it costs backward passes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.curvature.half import autocast
from edgeprune.curvature.layer_gradients import wide

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs `[batch, classes]` and labels `[batch]` to the mean over the batch."""


class ProductGraph(Protocol):
    def product(self, vectors: Sequence[Tensor], scale: float = 1.0) -> list[Tensor]:
        """Return `scale * A v` for one vector per weight, in the shapes of the weights."""


class HessianGraph:
    """The loss's gradient on a batch, kept differentiable: `Hv = d(g . v)/dw` with `g = dL/dw`.

    In half precision the gradient is that of the sum over the images, not of the mean: its entries are then of the size
    that the type holds. The product undoes it.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        loss: Loss,
        half: torch.dtype | None = None,
    ) -> None:
        self._weights = list(weights)
        self._first = float(len(x)) if half is not None else 1.0
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with autocast(half, x.device):
                outputs = module(x)
            total = loss(wide(outputs), y) * self._first
            self._gradients = torch.autograd.grad(total, self._weights, create_graph=True, materialize_grads=True)

    def product(self, vectors: Sequence[Tensor], scale: float = 1.0) -> list[Tensor]:
        """Return `scale * H v` for one vector per weight, in the shapes of the weights."""
        factor = scale / self._first
        return pull(self._gradients, self._weights, [v * factor for v in vectors] if factor != 1.0 else vectors)


class GaussNewtonGraph:
    """`G = J' S J`, with J the outputs' Jacobian and S the loss's Hessian by the outputs (Schraudolph 2002, section 3).

    `J v` is the derivative by u of `v . J' u`, which is linear in u; `J'` is one more backward pass.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        loss: Loss,
        half: torch.dtype | None = None,
    ) -> None:
        self._weights = list(weights)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with autocast(half, x.device):
                outputs = module(x)
            self._outputs = wide(outputs)
            self._u = torch.zeros_like(self._outputs, requires_grad=True)
            self._pulled = torch.autograd.grad(
                self._outputs, self._weights, grad_outputs=self._u, create_graph=True, materialize_grads=True
            )
            self._leaf = self._outputs.detach().requires_grad_()
            (self._slope,) = torch.autograd.grad(loss(self._leaf, y), [self._leaf], create_graph=True)

    def product(self, vectors: Sequence[Tensor], scale: float = 1.0) -> list[Tensor]:
        """Return `scale * G v` for one vector per weight, in the shapes of the weights."""
        (forward,) = pull(self._pulled, [self._u], [v * scale for v in vectors] if scale != 1.0 else vectors)
        (curved,) = pull([self._slope], [self._leaf], [forward])
        return pull([self._outputs], self._weights, [curved])


GRAPHS: dict[str, type[HessianGraph] | type[GaussNewtonGraph]] = {"hessian": HessianGraph, "ggn": GaussNewtonGraph}


def pull(outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
    """One backward pass that leaves the graph as it is; outputs that depend on nothing add nothing."""
    live = [(output, v) for output, v in zip(outputs, vectors, strict=True) if output.requires_grad]
    if not live:
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad(
        [output for output, _ in live],
        inputs,
        grad_outputs=[v for _, v in live],
        retain_graph=True,
        materialize_grads=True,
    )
    return [tensor.detach() for tensor in found]
