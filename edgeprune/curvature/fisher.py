"""The Fisher information's diagonal: mean squares of single images' gradients.

With labels drawn from the network's own outputs it estimates the Gauss-Newton matrix's diagonal (Martens 2020, arXiv
1412.1193, section 9); with the true labels it is the "empirical" Fisher, which is small where the network is right
(Kunstner et al. 2019, arXiv 1905.12558).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.curvature.curvature import Estimate
from edgeprune.curvature.ground import Ground, batches, images_within, lay_ground
from edgeprune.curvature.layer_gradients import SimpleLayer, Watched, image_gradients, simple_layers
from edgeprune.curvature.probing import Probing
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent

Labels = Literal["sampled", "true"]
BY_FUNC = 32
"""Images whose gradients `torch.func` holds at a time."""


def fisher_diagonal(
    traced: Traced,
    weights: Sequence[str],
    x: Tensor,
    y: Tensor,
    probing: Probing | None = None,
    labels: Labels = "sampled",
    tick: Tick = silent,
) -> dict[str, Estimate]:
    """Estimate the diagonal for cross-entropy: name -> estimate in the weight's shape.

    The standard error is over the images, which are independent: its truth is all images there could be.

    Args:
        traced: the network; it is not changed.
        weights: names of its parameters.
        x: images `[n, ...]`.
        y: labels `[n]`, for `true`.
        probing: seed, batch size and memory limit.
        labels: one drawn for each image from the network's outputs, or the true ones.
        tick: told how far it is.
    """
    probing = probing or Probing()
    layers = simple_layers(traced, node_shapes(traced), weights)
    others = [name for name in weights if name not in {layer.weight for layer in layers}]
    ground = lay_ground(traced, weights)
    squares = {name: torch.zeros(w.shape, dtype=torch.float64) for name, w in ground.weights.items()}
    fourths = {name: torch.zeros_like(value) for name, value in squares.items()}

    def add(name: str, gradients: Tensor) -> None:
        outward = ground.inward(name, gradients).double().square()
        squares[name] += outward.sum(0).cpu()
        fourths[name] += outward.square().sum(0).cpu()

    generator, done = torch.Generator().manual_seed(probing.seed), 0
    for xb, yb, _ in batches(ground, x, y, min(probing.batch_size, images_within(ground, probing.memory_mb, "logits"))):
        if labels == "sampled":
            with torch.no_grad():
                p = ground.module(xb).double().softmax(1).cpu()
            yb = torch.multinomial(p, 1, generator=generator)[:, 0].to(xb.device)
        _by_layers(ground, layers, xb, yb, add)
        _by_func(ground, others, xb, yb, add)
        done += len(xb)
        tick("Fisher diagonal", done, len(x))
    count = len(x)
    found = {}
    for name, total in squares.items():
        mean = total / count
        spread = (fourths[name] / count - mean.square()).clamp_min(0) / max(count - 1, 1)
        found[name] = Estimate(mean, spread.sqrt(), count)
    return found


def _by_layers(
    ground: Ground, layers: list[SimpleLayer], x: Tensor, y: Tensor, add: Callable[[str, Tensor], None]
) -> None:
    """One backward pass for all images, whose gradients by a layer's outputs give those by its weight."""
    if not layers:
        return
    watched = Watched(ground.traced.module, [layer.node for layer in layers])
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        loss = functional.cross_entropy(watched.run(x), y, reduction="sum")
        outputs = [watched.outputs[layer.node] for layer in layers]
        slopes = torch.autograd.grad(loss, outputs, materialize_grads=True)
    for layer, slope in zip(layers, slopes, strict=True):
        shape = ground.weights[layer.weight].shape
        for gradients in image_gradients(layer, watched.inputs[layer.node], slope, shape):
            add(layer.weight, gradients)


def _by_func(ground: Ground, names: list[str], x: Tensor, y: Tensor, add: Callable[[str, Tensor], None]) -> None:
    """Any other parameter: each image's gradient by `torch.func`."""
    if not names:
        return
    module = ground.module
    fixed = {n: p.detach() for n, p in module.named_parameters()} | dict(module.named_buffers())
    moving = {name: fixed.pop(name) for name in names}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        outputs = functional_call(module, {**weights, **fixed}, (image[None],))
        return functional.cross_entropy(outputs, label[None])

    with sdpa_kernel(SDPBackend.MATH):
        for xs, ys in zip(x.split(BY_FUNC), y.split(BY_FUNC), strict=True):
            for name, gradients in vmap(grad(loss), in_dims=(None, 0, 0))(moving, xs, ys).items():
                add(name, gradients)
