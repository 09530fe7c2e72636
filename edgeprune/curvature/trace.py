"""The trace of the Hessian block of every output channel, estimated until its order is certain.

Two estimates, of the same traces where both apply:
- from the side of the outputs (`logits`), where cross-entropy's Hessian block is the Gauss-Newton one: in layers in
  whose weights the network is piecewise linear (`piecewise`), or of all layers where `kind` is `ggn`;
- Hutchinson's for the others: `v_c . (Hv)_c` has expectation `Tr(H_cc)` for a vector v of independent signs over all
  weights at once, for every channel of every layer from the same product (Yu et al. 2021, arXiv 2101.08940).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.curvature.curvature import Curvature, Effort
from edgeprune.curvature.ground import batches, images_within, lay_ground
from edgeprune.curvature.half import Scale, half_of
from edgeprune.curvature.hvp import Loss
from edgeprune.curvature.layer_gradients import SimpleLayer, simple_layers
from edgeprune.curvature.logits import ROUNDS, LogitGraph, draw_signs
from edgeprune.curvature.matrix import Matrix, signs
from edgeprune.curvature.piecewise import piecewise_linear
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.team import Team
from edgeprune.errors import EdgepruneError
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick

FIRST_LOOK, MOST_PER_ROUND = 8, 32
"""Probes before `settled` is asked for the first time; then after as many again as there are, up to the most."""

Told = Callable[[int], None]
"""Hears how many images more one probe has seen."""


def channel_traces(
    traced: Traced,
    weights: Mapping[str, int],
    x: Tensor,
    y: Tensor,
    probing: Probing,
    tick: Tick,
    settled: Callable[[Curvature], bool] = lambda _: False,
    loss: Loss = functional.cross_entropy,
    team: Team | None = None,
    begun: Curvature | None = None,
) -> Curvature:
    """Estimate `Tr(H_cc)` for each output channel c of the named weights; H is of the mean loss over all of `x`.

    Args:
        traced: the network; it is not changed.
        weights: name -> the axis of its output channels.
        x: images `[n, ...]`.
        y: labels `[n]`.
        probing: how many probes at most, of what, in which precision.
        tick: told how far it is.
        settled: asked after every round of probes whether the estimates so far suffice.
        loss: the mean over a batch.
        team: the processes that share the work.
        begun: what an earlier call with the same arguments had when it was interrupted.

    Raises:
        EdgepruneError: there is nothing to estimate, or no label for each image; a product is not finite.
    """
    _check(weights, x, y)
    team, start = team or Team(), time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    chosen = _by_outputs(traced, weights, probing, loss)
    others = {name: axis for name, axis in weights.items() if name not in {layer.weight for layer in chosen}}
    estimates: list[_ByOutputs | _ByProducts] = []
    if chosen:
        estimates.append(_ByOutputs(traced, chosen, x, y, probing, team))
    if others:
        estimates.append(_ByProducts(traced, others, x, y, probing, loss, team))
    steps = probing.probes * len(x) * len(estimates)
    samples = {name: [begun.per_probe[name]] if begun is not None else [] for name in weights}
    done = begun.probes if begun is not None else 0
    before = begun.effort.seconds if begun is not None and begun.effort is not None else 0.0
    seen = done * len(x) * len(estimates)
    while True:
        count = min(max(done, FIRST_LOOK), MOST_PER_ROUND, probing.probes - done)

        def told(images: int, probes: int = count) -> None:
            nonlocal seen
            seen += images * probes * team.size
            tick("curvature", min(seen, steps - 1), steps)

        for estimate in estimates:
            for name, rows in estimate.probe(done, count, told).items():
                samples[name].append(rows)
        done += count
        effort = Effort(
            seconds=before + time.perf_counter() - start,
            peak_bytes=peak_bytes(traced),
            overflows=sum(estimate.scale.overflows for estimate in estimates),
            underflows=sum(estimate.scale.underflows for estimate in estimates),
            by_outputs=len(chosen),
            by_products=len(others),
        )
        curvature = Curvature({name: torch.cat(rows) for name, rows in samples.items()}, len(x), probing, effort)
        if done >= probing.probes or settled(curvature):
            tick("curvature", 1, 1)
            return curvature


def _check(weights: Mapping[str, int], x: Tensor, y: Tensor) -> None:
    if not weights:
        raise EdgepruneError("no layer of this network has channels whose curvature could be estimated.")
    if not len(x) or len(x) != len(y):
        raise EdgepruneError(f"{len(x)} images and {len(y)} labels: one label for each image is needed.")
    if y.is_floating_point() or y.dim() != 1:
        raise EdgepruneError(f"labels are {y.dtype} of shape {tuple(y.shape)}. Give whole numbers, one for each image.")


def _by_outputs(traced: Traced, weights: Mapping[str, int], probing: Probing, loss: Loss) -> list[SimpleLayer]:
    if loss is not functional.cross_entropy:
        return []
    simple = simple_layers(traced, node_shapes(traced), [name for name, axis in weights.items() if axis == 0])
    return [layer for layer in simple if probing.kind == "ggn" or piecewise_linear(traced, layer.node)]


class _ByOutputs:
    """Estimates from the side of the outputs."""

    def __init__(
        self, traced: Traced, layers: list[SimpleLayer], x: Tensor, y: Tensor, probing: Probing, team: Team
    ) -> None:
        self._layers, self._seed, self._team, self._images = layers, probing.seed, team, len(x)
        self._ground = lay_ground(traced, [layer.weight for layer in layers])
        for weight in self._ground.weights.values():
            weight.requires_grad_(False)  # what layers put out is differentiated by, never a weight
        self.scale = Scale(half_of(probing.precision, self._ground.device))
        within = images_within(self._ground, probing.memory_mb, "logits")
        self._batches = batches(self._ground, x, y, min(probing.batch_size, within))

    def probe(self, first: int, count: int, told: Told) -> dict[str, Tensor]:
        """Samples `[count, out]` of each weight's channels."""
        weights = self._ground.weights
        total = {name: torch.zeros(count, len(weight), dtype=torch.float64) for name, weight in weights.items()}
        mine, probes = self._team.part(len(self._batches))
        numbers = range(count)[probes]
        starts = [0]
        for x, _, _ in self._batches:
            starts.append(starts[-1] + len(x))
        for index in range(len(self._batches))[mine]:
            x = self._batches[index][0]
            graph = LogitGraph(self._ground, self._layers, x, self.scale)
            for part in range(0, len(numbers), ROUNDS):
                some = numbers[part : part + ROUNDS]
                drawn = [draw_signs((len(x), graph.classes), self._seed, first + n, starts[index]) for n in some]
                for name, norms in graph.norms(torch.stack(drawn).to(x.device)).items():
                    factor = self._ground.factors.get(name)
                    inward = norms if factor is None else norms * factor.view(-1).square()
                    total[name][list(some)] += inward.double().cpu() / self._images
            told(len(x))
        self._team.add_up(total.values())
        return {name: value.to(weights[name].dtype) for name, value in total.items()}


class _ByProducts:
    """Hutchinson's estimates."""

    def __init__(
        self,
        traced: Traced,
        weights: Mapping[str, int],
        x: Tensor,
        y: Tensor,
        probing: Probing,
        loss: Loss,
        team: Team,
    ) -> None:
        self._weights, self._seed, self._team = weights, probing.seed, team
        self._matrix = Matrix(traced, [*weights], x, y, probing, loss, team)
        self.scale = self._matrix.scale

    def probe(self, first: int, count: int, told: Told) -> dict[str, Tensor]:
        """Samples `[count, out]` of each weight's channels."""
        like = self._matrix.ground.weights
        total = {
            name: torch.zeros(count, like[name].shape[axis], dtype=torch.float64)
            for name, axis in self._weights.items()
        }

        def add(number: int, vector: list[Tensor], product: list[Tensor], share: float) -> None:
            for (name, axis), v, hv in zip(self._weights.items(), vector, product, strict=True):
                total[name][number] += (v * hv).movedim(axis, 0).flatten(1).sum(1).double().cpu() * share

        def drawn(number: int) -> list[Tensor]:
            return signs([*like.values()], self._seed, first + number)

        self._matrix.walk(count, drawn, add, told)
        self._team.add_up(total.values())
        return {name: value.to(like[name].dtype) for name, value in total.items()}


def peak_bytes(traced: Traced) -> int:
    """Most memory that was held so far: of the CUDA device where it works, else resident in this process."""
    if next(traced.module.parameters()).is_cuda:
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
