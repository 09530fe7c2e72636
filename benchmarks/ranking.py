"""How good an order of channels is, and the ways to estimate the traces behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from edgeprune.curvature.ground import lay_ground
from edgeprune.curvature.half import Scale
from edgeprune.curvature.layer_gradients import simple_layers
from edgeprune.curvature.logits import LogitGraph
from edgeprune.curvature.matrix import Matrix, signs
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced

Samples = dict[str, Tensor]
"""Weight name -> `[probes, out]`."""


def importance(module: nn.Module, weights: Mapping[str, int]) -> Tensor:
    """What HAP multiplies a channel's trace by, of all channels `[channels]`."""
    rows = [module.get_parameter(n).detach().double().movedim(axis, 0).flatten(1) for n, axis in weights.items()]
    return torch.cat([row.square().sum(1) / (2 * row.shape[1]) for row in rows]).cpu()


def scores(samples: Samples, weight: Tensor, probes: int | None = None) -> Tensor:
    """HAP's scores of all channels by the first probes."""
    return torch.cat([rows[:probes].double().mean(0) for rows in samples.values()]).cpu() * weight


def spearman(a: Tensor, b: Tensor) -> float:
    """Rank correlation."""
    ranks = [x.argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def overlap(a: Tensor, b: Tensor, share: float = 0.5) -> float:
    """Share of the channels that both cut, of those that one cuts."""
    count = int(share * len(a))
    cut = [set(x.argsort()[:count].tolist()) for x in (a, b)]
    return len(cut[0] & cut[1]) / count


def by_products(
    matrix: Matrix, weights: Mapping[str, int], probes: range, seed: int, each: Callable[[], None] = lambda: None
) -> Samples:
    """Hutchinson's samples of every channel, whatever the network; `each` is called after every probe."""
    like = [*matrix.ground.weights.values()]
    found: dict[str, list[Tensor]] = {name: [] for name in weights}
    for probe in probes:
        total = {n: torch.zeros(w.shape[weights[n]], dtype=torch.float64) for n, w in zip(weights, like, strict=True)}

        def add(_: int, v: list[Tensor], hv: list[Tensor], share: float, into: Samples = total) -> None:
            for (name, axis), left, right in zip(weights.items(), v, hv, strict=True):
                into[name] += (left * right).movedim(axis, 0).flatten(1).sum(1).double().cpu() * share

        matrix.walk(1, lambda _, n=probe: signs(like, seed, n), add)  # type: ignore[misc]
        for name, value in total.items():
            found[name].append(value)
        each()
    return {name: torch.stack(rows) for name, rows in found.items()}


def exact_traces(traced: Traced, weights: Mapping[str, int], x: Tensor, batch: int = 128) -> Samples:
    """The traces themselves, as one sample, of a network that is piecewise linear in every layer's weights.

    One backward pass for each class: `Tr(J' A A' J) = sum over classes k of ||J' A e_k||^2`.
    """
    layers = simple_layers(traced, node_shapes(traced), list(weights))
    assert len(layers) == len(weights)
    ground = lay_ground(traced, [layer.weight for layer in layers])
    for weight in ground.weights.values():
        weight.requires_grad_(False)
    total: dict[str, Tensor] = {}
    for xb in x.to(ground.device).split(batch):
        graph = LogitGraph(ground, layers, xb, Scale())
        columns = torch.eye(graph.classes, device=xb.device)[:, None].expand(-1, len(xb), -1)
        for column in columns:
            for name, norms in graph.norms(column[None]).items():
                factor = ground.factors.get(name)
                value = (norms[0] if factor is None else norms[0] * factor.view(-1).square()).double().cpu() / len(x)
                total[name] = total.get(name, torch.zeros_like(value)) + value
    return {name: total[name][None] for name in weights}


def as_released(samples: Samples) -> Samples:
    """What EHAP's released code makes of them: its scale starts at 2^16 and loses 2^8 at every probe (0 from 20 on)."""
    count = len(next(iter(samples.values())))
    scale = torch.tensor([2.0 ** (8 - 8 * i) if i < 20 else 0.0 for i in range(count)], dtype=torch.float64)
    return {name: rows * scale[:, None] for name, rows in samples.items()}
