"""The network as curvature sees it: BatchNorm folded into the weights before it, cut into batches that fit the memory.

Folding is a change of coordinates: with W' = f W per output channel, `H_W = f H_W' f`. So a product takes f v in and
gives f H' (f v) back, exactly, without BatchNorm's own passes (0.6 of the time on a ResNet-20).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.model import batch_statistics
from edgeprune.model.device import device_of
from edgeprune.model.fold import fold_with_record
from edgeprune.model.operators import arguments, name_of
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced

PASSES = {"hessian": 3.0, "ggn": 2.5, "logits": 4.0}
"""Memory of a graph and a product, in that of all tensors of a forward pass: the most that was measured of ResNet-20,
ResNet-50, MobileNetV2 and a ViT on a CPU in float32."""


@dataclass(frozen=True)
class Ground:
    """A copy of a network whose named weights alone can be differentiated.

    `weights`: name -> parameter of the copy; `factors`: name -> what it was multiplied by, shaped to broadcast.
    """

    traced: Traced
    weights: dict[str, Tensor]
    factors: dict[str, Tensor]

    @property
    def module(self) -> nn.Module:
        return self.traced.module

    @property
    def device(self) -> torch.device:
        return device_of(self.traced)

    def inward(self, name: str, v: Tensor) -> Tensor:
        """A vector (or a product) in the network's own coordinates, in those of the copy, and back."""
        return v * self.factors[name] if name in self.factors else v


def lay_ground(traced: Traced, names: Sequence[str], by_batch: bool = False) -> Ground:
    """Copy a network and fold what can be folded, unless a parameter that folding changes is itself asked for.

    `by_batch`: BatchNorm takes the statistics of the batch instead, and is not folded: the curvature is then that of a
    network whose statistics follow its weights.
    """
    folded, folds = (batch_statistics.by_batch(traced), {}) if by_batch else fold_with_record(traced)
    factors, biases = {n: fold.factor for n, fold in folds.items()}, {fold.bias for fold in folds.values()}
    own = dict(folded.module.named_parameters())
    if any(name not in own or name in biases for name in names):
        folded, factors = Traced(copy.deepcopy(traced.module), traced.input_shape), {}
        own = dict(folded.module.named_parameters())
    for name, parameter in own.items():
        parameter.requires_grad_(name in names)
    shaped = {n: f.to(own[n]).view(-1, *[1] * (own[n].dim() - 1)) for n, f in factors.items()}
    return Ground(folded, {name: own[name] for name in names}, {n: f for n, f in shaped.items() if n in names})


def batches(ground: Ground, x: Tensor, y: Tensor, size: int) -> list[tuple[Tensor, Tensor, float]]:
    """Images, labels and share of all images, in equal parts of at most `size` images, on the network's device."""
    parts = max(1, -(-len(x) // size))
    device = ground.device
    return [
        (a.to(device), b.to(device), len(a) / len(x))
        for a, b in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
    ]


def images_within(ground: Ground, memory_mb: float, kind: str) -> int:
    """Of how many images graphs may be held within a memory limit; at least one."""
    like = next(iter(ground.weights.values()))
    shapes = _activations(ground.traced)
    elements = sum(torch.Size(shape).numel() for shape in shapes.values()) + _attention(ground.traced, shapes)
    return max(1, int(memory_mb * 1e6 / (elements * like.element_size() * PASSES[kind])))


def _activations(traced: Traced) -> Mapping[str, tuple[int, ...]]:
    stored = {node.name for node in traced.module.graph.nodes if node.op == "get_attr"}
    return {name: shape for name, shape in node_shapes(traced).items() if name not in stored}


def _attention(traced: Traced, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Elements of attention's scores and weights, which no node shows: `[heads, queries, keys]` twice."""
    total = 0
    for node in traced.module.graph.nodes:
        if name_of(node) == "scaled_dot_product_attention":
            query, key = (shapes[arguments(node)[name].name] for name in ("query", "key"))
            total += 2 * torch.Size(query[:-1]).numel() * key[-2]
    return total
