"""Hutchinson's estimate of the Hessian trace of every output channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.hvp import GradientGraph, Loss
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick

ROUND = 4
"""Probes per gradient graph: a graph costs about one probe, so four keep the overhead near a fifth."""
PIXELS = 128 * 64 * 64
"""Largest batch, in pixels: a double backward pass holds about four times the activations of a forward one."""


def channel_traces(
    traced: Traced,
    weights: Mapping[str, int],
    x: Tensor,
    y: Tensor,
    probes: int,
    batch_size: int,
    seed: int,
    tick: Tick,
    settled: Callable[[Curvature], bool],
    loss: Loss = functional.cross_entropy,
) -> Curvature:
    """Estimate `Tr(H_cc)` for each output channel c of the named weights (Yu et al. 2021, arXiv 2101.08940).

    `weights`: name -> the axis of its output channels.

    One probe is one vector v of independent signs over all the weights at once; `v_c . (Hv)_c` has expectation
    `Tr(H_cc)` for every channel at once, the other channels adding variance but no bias. H is the Hessian of the
    mean loss over all of `x`; probe i is the same vector on every batch, so that its samples are of that H.
    After each round of probes `settled` is asked whether the estimates so far suffice.

    Raises:
        EdgepruneError: a product is not finite.
    """
    parameters = dict(traced.module.named_parameters())
    chosen = [parameters[name] for name in weights]
    side = x.shape[2:].numel() if x.dim() > 2 else 1
    batch_size = max(1, min(batch_size, PIXELS // max(side, 1)))
    x, y = x.to(chosen[0].device), y.to(chosen[0].device)
    samples: dict[str, list[Tensor]] = {name: [] for name in weights}
    done, curvature = 0, Curvature({}, len(x))
    while done < probes:
        count = min(ROUND, probes - done)
        vectors = [_signs(chosen, seed, done + i) for i in range(count)]
        totals = [{name: torch.zeros(parameters[name].shape[out]) for name, out in weights.items()} for _ in vectors]
        for start in range(0, len(x), batch_size):
            xb, yb = x[start : start + batch_size], y[start : start + batch_size]
            graph = GradientGraph(traced.module, chosen, xb, yb, loss)
            for vector, total in zip(vectors, totals, strict=True):
                for (name, out), v, hv in zip(weights.items(), vector, graph.product(vector), strict=True):
                    total[name] += (v * hv).movedim(out, 0).flatten(1).sum(1).cpu() * (len(xb) / len(x))
            del graph
            tick("curvature", done * len(x) + count * min(start + batch_size, len(x)), probes * len(x))
        for total in totals:
            for name, value in total.items():
                if not bool(value.isfinite().all()):
                    raise EdgepruneError(f"the curvature of {name} is not finite. Check the weights and the images.")
                samples[name].append(value)
        done += count
        curvature = Curvature({name: torch.stack(rows) for name, rows in samples.items()}, len(x))
        if settled(curvature):
            tick("curvature", 1, 1)
            break
    return curvature


def _signs(like: Sequence[Tensor], seed: int, probe: int) -> list[Tensor]:
    """Independent ±1 in the shapes of the weights, from the seed and the probe's number alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + probe)
    return [torch.randint(0, 2, w.shape, generator=generator).to(w) * 2 - 1 for w in like]
