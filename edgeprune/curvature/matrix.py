"""The loss's Hessian or Gauss-Newton matrix over any number of images, as a linear operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.curvature.convolution import make_twice_differentiable
from edgeprune.curvature.ground import batches, images_within, lay_ground
from edgeprune.curvature.half import Scale, half_of
from edgeprune.curvature.hvp import GRAPHS, Loss, ProductGraph
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.team import Team
from edgeprune.model.traced import Traced

Vectors = Callable[[int], list[Tensor]]
"""From a vector's number to one tensor per weight."""
Use = Callable[[int, list[Tensor], list[Tensor], float], None]
"""Told of a vector's number, the vector, its product on one batch, and that batch's share of the images."""


class Matrix:
    """`A` of the mean loss over all of `x`, by the named weights; symmetric, `[size, size]`, never written out.

    Args:
        traced: the network, in eval mode as its graph says; it is not changed.
        weights: names of its parameters, in the order in which a flat vector holds them.
        x: images `[n, ...]` as the network takes them.
        y: labels `[n]`.
        probing: which matrix, in which precision, within how much memory.
        loss: the mean over a batch.
        team: the processes that share the work; each holds all the images.
        by_batch: whether BatchNorm takes each batch's own statistics.
    """

    def __init__(
        self,
        traced: Traced,
        weights: Sequence[str],
        x: Tensor,
        y: Tensor,
        probing: Probing | None = None,
        loss: Loss = functional.cross_entropy,
        team: Team | None = None,
        by_batch: bool = False,
    ) -> None:
        probing = probing or Probing()
        self.ground = lay_ground(traced, weights, by_batch)
        self.names, self.team = list(weights), team or Team()
        self.scale = Scale(half_of(probing.precision, self.ground.device))
        self._kind, self._loss = GRAPHS[probing.kind], loss
        within = images_within(self.ground, probing.memory_mb, probing.kind)
        make_twice_differentiable(self.ground.traced.module)
        self._batches = batches(self.ground, x, y, min(probing.batch_size, within))
        self._kept: dict[int, ProductGraph] | None = {} if len(x) <= within else None

    @property
    def shapes(self) -> list[torch.Size]:
        return [weight.shape for weight in self.ground.weights.values()]

    @property
    def size(self) -> int:
        return sum(shape.numel() for shape in self.shapes)

    def walk(self, count: int, vectors: Vectors, use: Use, told: Callable[[int], None] = lambda _: None) -> None:
        """Multiply `count` vectors with the matrix of each batch that is this process's.

        A batch's graph is built once for all of them, and kept for the next call where all graphs fit the memory limit.
        The sum over batches of `share * product` is the matrix's product; over the team, where there is one.
        `told` hears how many images of this process are done.
        """
        mine, probes = self.team.part(len(self._batches))
        numbers = range(count)[probes]
        for index in range(len(self._batches))[mine]:
            share = self._batches[index][2]
            graph = self._graph(index)
            for number in numbers:
                vector = vectors(number)
                inward = [self.ground.inward(n, v) for n, v in zip(self.names, vector, strict=True)]
                found = self.scale.finite(lambda scale, g=graph, v=inward: g.product(v, scale))  # type: ignore[misc]
                use(number, vector, [self.ground.inward(n, p) for n, p in zip(self.names, found, strict=True)], share)
            del graph
            told(len(self._batches[index][0]))

    def _graph(self, index: int) -> ProductGraph:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        x, y, _ = self._batches[index]
        graph = self._kind(self.ground.module, [*self.ground.weights.values()], x, y, self._loss, self.scale.half)
        if self._kept is not None:
            self._kept[index] = graph
        return graph

    def product(self, flat: Tensor) -> Tensor:
        """Return `A V` for vectors `[size]` or `[size, k]`, in the type of the parameters."""
        columns = flat.view(self.size, -1)
        result = torch.zeros_like(columns, dtype=next(iter(self.ground.weights.values())).dtype)

        def add(number: int, _: list[Tensor], product: list[Tensor], share: float) -> None:
            result[:, number] += share * torch.cat([p.reshape(-1) for p in product]).to(result)

        self.walk(columns.shape[1], lambda number: self.parts(columns[:, number]), add)
        self.team.add_up([result])
        return result.view(flat.shape)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """A flat vector `[size]` as one tensor per weight, on the network's device."""
        pieces = flat.to(self.ground.device).split([shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


def signs(like: Sequence[Tensor], seed: int, probe: int) -> list[Tensor]:
    """Independent +1 and -1 in the shapes of the weights, from the seed and the probe's number alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + probe)
    return [torch.randint(0, 2, w.shape, generator=generator).to(w) * 2 - 1 for w in like]
