"""Mixed precision by curvature: which layers are worth more than eight bits, under a budget.

What rounding a layer's weights costs is half the curvature times the squared error; with the trace of each output
channel's Hessian block in place of the block, Omega = sum over channels of Tr / n * |Q(w) - w|^2 (Dong et al. 2020,
HAWQ-V2, arXiv 1911.03852, eq. 7, there per layer). Activations are not in it: their noise is what `diagnose` measures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.attributes import attribute
from edgeprune.model.batches import sample
from edgeprune.model.count import layers
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import Traced
from edgeprune.pipeline.curving import probing
from edgeprune.pipeline.steps import Work
from edgeprune.pruning.greedy import Bound, solve
from edgeprune.pruning.levels import Levels
from edgeprune.pruning.quantity import Affine
from edgeprune.quantization.equalize import equalize
from edgeprune.quantization.fake import WeightQuantizer
from edgeprune.quantization.graph import modules_by_node, unrounded
from edgeprune.quantization.units import Unit, leave
from edgeprune.spec.speeds import measured, peaks

HIGH_BITS = {"onnxruntime": 32, "tensorrt": 16}
INT8_BITS = 8


def rounding_costs(work: Work, tuned: Traced, network: Traced, every: Mapping[str, Unit]) -> dict[str, float]:
    """Omega of each layer of a network with quantizers, by its unit; `tuned`: the float network that it was made of."""
    folded = fold_batch_norm(tuned)
    if work.recipe.int8.equalize:
        equalize(folded)  # as the quantizers find the weights
    parameters = dict(folded.module.named_parameters())
    quantizers = _quantizers(network, every)
    axes = {
        weight: quantizer.axis
        for weight, quantizer in quantizers.values()
        if weight in parameters and parameters[weight].shape == attribute(network.module, weight).shape
    }
    x, y = sample(work.data.train, work.data.preprocessing, work.recipe.curvature.images, work.recipe.seed)
    traces = channel_traces(folded, axes, x, y, probing(work.recipe), work.tick)
    costs = {}
    with torch.no_grad():
        for name, (weight, quantizer) in quantizers.items():
            if weight not in axes:
                continue
            value = parameters[weight].detach()
            scale = quantizer.scale(value).view(quantizer.shape(value))
            codes = (value / scale).round().clamp(-quantizer.levels, quantizer.levels)
            error = (codes * scale - value).square().transpose(0, quantizer.axis).flatten(1)
            mean_trace = traces.trace(weight).value.clamp_min(0) / error.shape[1]
            costs[name] = float((mean_trace.double() * error.sum(1).double()).sum())
    return costs


@dataclass(frozen=True)
class _Limit:
    """`constant + sum over layers of per_bit * bits` may be at most `most`."""

    name: str
    constant: float
    per_bit: Mapping[str, float]
    most: float

    def reached(self, bits: Mapping[str, int]) -> float:
        return self.constant + sum(self.per_bit[name] * bits[name] for name in bits)


def within_budget(
    work: Work,
    tuned: Traced,
    network: Traced,
    every: Mapping[str, Unit],
    costs: Mapping[str, float],
    kept: Collection[str],
) -> list[str]:
    """The layers that stay in higher precision beside those in `kept`: those whose rounding costs most for their bits.

    What runs in float because of a neighbour's choice takes its bits too: choices are taken back until all fits.

    Raises:
        EdgepruneError: INT8 in all other layers does not fit.
    """
    runtime = work.target.runtime
    limits = _limits(work, tuned, network, every)

    def bits(high: Collection[str]) -> dict[str, int]:
        lifted = {*high, *leave(network, high, runtime)[1]}
        return {name: HIGH_BITS[runtime] if name in lifted else INT8_BITS for name in limits[0].per_bit}

    least, high = bits(kept), HIGH_BITS[runtime]
    for limit in limits:
        if limit.reached(least) > limit.most:
            raise EdgepruneError(
                f"[int8] {limit.name} = {limit.most:g}: with every other layer in INT8 it is "
                f"{limit.reached(least):.4g}. Allow it or cut more."
            )
    chosen = _solved(limits, costs, least, high)
    cheapest = sorted(chosen, key=lambda name: costs[name] / max(limits[0].per_bit[name], 1e-30))
    for name in cheapest:
        now = bits([*kept, *chosen])
        if all(limit.reached(now) <= limit.most for limit in limits):
            break
        chosen.remove(name)
    return chosen


def _solved(limits: Sequence[_Limit], costs: Mapping[str, float], least: Mapping[str, int], high: int) -> list[str]:
    """The budget solver's choice among the layers that may have more bits than `least` says."""
    free = [name for name in costs if least[name] == INT8_BITS]
    if not free:
        return []
    bounds = []
    for limit in limits:
        fixed = limit.reached({name: bits for name, bits in least.items() if name not in free})
        slopes = np.array([[limit.per_bit[name] for name in free]])
        bounds.append(Bound(Affine(np.array([fixed]), slopes), limit.most))
    kept = np.tile(np.array([high, INT8_BITS]), (len(free), 1))
    lost = np.stack([np.zeros(len(free)), np.array([costs[name] for name in free])], axis=1)
    level = solve(Levels(kept, lost, np.ones(len(free), np.int64)), bounds)
    return [name for name, at in zip(free, level, strict=True) if at == 0]


def _limits(work: Work, tuned: Traced, network: Traced, every: Mapping[str, Unit]) -> list[_Limit]:
    """What the recipe bounds: megabytes of weights, and what else stays float; milliseconds of the layers."""
    asked, found = work.recipe.int8, []
    weights = {name: weight for name, (weight, _) in _quantizers(network, every).items()}
    if asked.size_mb is not None:
        first = {
            weight: name for name, weight in reversed(weights.items())
        }  # a weight that two layers share counts once
        count = {
            name: attribute(network.module, weight).numel() if first[weight] == name else 0
            for name, weight in weights.items()
        }
        scales = {name for name, _ in network.module.named_parameters() if name.endswith("log_scale")}
        total = sum(p.numel() for name, p in network.module.named_parameters() if name not in scales)
        per_bit = {name: number / 8e6 for name, number in count.items()}
        found.append(_Limit("size_mb", (total - sum(count.values())) * 4 / 1e6, per_bit, asked.size_mb))
    if asked.latency_ms is not None:
        found.append(_Limit("latency_ms", 0.0, _ms_per_bit(work, tuned, [*weights]), asked.latency_ms))
    return found


def _ms_per_bit(work: Work, tuned: Traced, names: list[str]) -> dict[str, float]:
    """Milliseconds of each layer over its bits: measured in INT8 where a profile is there, else the target's peak."""
    found = measured(work.target, "int8", work.recipe.latency_profile).profiles
    if found and found[0].layers is not None:
        times = {row.name: row.ms for row in found[0].layers}
        if all(name in times for name in names):
            return {name: times[name] / INT8_BITS for name in names}
    peak = peaks(work.target, "int8")
    if peak is None:
        raise EdgepruneError(
            f"[int8] latency_ms: {work.target.name} states no peaks, and no profile names these layers. Give size_mb."
        )
    used: dict[str, int] = {}
    for layer in layers(tuned):
        name = layer.weight.removesuffix(".weight")
        used[name] = used.get(name, 0) + layer.macs
    return {name: used.get(name, 0) / peak.macs_per_ms / INT8_BITS for name in names}


def _quantizers(network: Traced, every: Mapping[str, Unit]) -> dict[str, tuple[str, WeightQuantizer]]:
    """The weight of each layer and its quantizer, by the layer's unit."""
    calls, found = modules_by_node(network.module), {}
    for name, unit in every.items():
        for node in unit.stored:
            part = calls.get(node)
            if isinstance(part, WeightQuantizer):
                found[name] = (str(unrounded(node).target), part)
    return found
