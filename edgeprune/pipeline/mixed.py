"""Mixed precision by curvature: which layers are worth more than eight bits, under a budget.

What rounding a layer's weights costs is half the curvature times the squared error; with the trace of each output
channel's Hessian block in place of the block, Omega = sum over channels of Tr / n * |Q(w) - w|^2 (Dong et al. 2020,
HAWQ-V2, arXiv 1911.03852, eq. 7, there per layer). Activations are not in it: their noise is what `diagnose` measures.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from edgeprune.pruning.greedy import Bound, holds, solve
from edgeprune.pruning.levels import Levels
from edgeprune.pruning.quantity import Affine, Floats
from edgeprune.quantization.fake import WeightQuantizer
from edgeprune.quantization.graph import modules_by_node, unrounded
from edgeprune.quantization.units import Unit
from edgeprune.spec.speeds import measured, peaks

HIGH_BITS = {"onnxruntime": 32, "tensorrt": 16}
INT8_BITS = 8


def rounding_costs(work: Work, tuned: Traced, network: Traced, every: Mapping[str, Unit]) -> dict[str, float]:
    """Omega of each layer of a network with quantizers, by its unit; `tuned`: the float network that it was made of."""
    folded = fold_batch_norm(tuned)
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


def within_budget(
    work: Work, tuned: Traced, network: Traced, every: Mapping[str, Unit], costs: Mapping[str, float]
) -> list[str]:
    """The layers that stay in higher precision: those whose rounding costs most for what they take of the budget.

    Raises:
        EdgepruneError: INT8 throughout does not fit.
    """
    names, asked = [*costs], work.recipe.int8
    high = HIGH_BITS[work.target.runtime]
    quantizers = _quantizers(network, every)
    count = np.array([attribute(network.module, quantizers[name][0]).numel() for name in names], np.float64)
    kept = np.tile(np.array([high, INT8_BITS]), (len(names), 1))
    lost = np.stack([np.zeros(len(names)), np.array([costs[name] for name in names])], axis=1)
    levels = Levels(kept, lost, np.ones(len(names), np.int64))
    every_weight = sum(parameter.numel() for parameter in network.module.parameters())
    limits: dict[str, Bound] = {}
    if asked.size_mb is not None:
        rest = (every_weight - count.sum()) * 4  # biases and what else stays float
        limits["size_mb"] = Bound(Affine(np.array([rest]) / 1e6, count[None] / 8e6), asked.size_mb)
    if asked.latency_ms is not None:
        limits["latency_ms"] = Bound(Affine(np.zeros(1), _ms_per_bit(work, tuned, names)[None]), asked.latency_ms)
    least, bounds = levels.counts(levels.last), [*limits.values()]
    for name, bound in limits.items():
        if not holds([bound], least):
            reached = float(bound.quantity.at(least).max())
            raise EdgepruneError(
                f"[int8] {name} = {bound.limit:g}: with every layer in INT8 it is {reached:.4g}. Allow it or cut more."
            )
    level = solve(levels, bounds)
    return [name for name, at in zip(names, level, strict=True) if at == 0]


def _ms_per_bit(work: Work, tuned: Traced, names: list[str]) -> Floats:
    """Milliseconds of each layer over its bits: measured in INT8 where a profile is there, else the target's peak."""
    found = measured(work.target, "int8", work.recipe.latency_profile).profiles
    if found and found[0].layers is not None:
        times = {row.name: row.ms for row in found[0].layers}
        if all(name in times for name in names):
            return np.array([times[name] for name in names]) / INT8_BITS
    peak = peaks(work.target, "int8")
    if peak is None:
        raise EdgepruneError(
            f"[int8] latency_ms: {work.target.name} states no peaks, and no profile names these layers. Give size_mb."
        )
    used: dict[str, int] = {}
    for layer in layers(tuned):
        name = layer.weight.removesuffix(".weight")
        used[name] = used.get(name, 0) + layer.macs
    return np.array([used.get(name, 0) / peak.macs_per_ms for name in names]) / INT8_BITS


def _quantizers(network: Traced, every: Mapping[str, Unit]) -> dict[str, tuple[str, WeightQuantizer]]:
    """The weight of each layer and its quantizer, by the layer's unit."""
    calls, found = modules_by_node(network.module), {}
    for name, unit in every.items():
        for node in unit.stored:
            part = calls.get(node)
            if isinstance(part, WeightQuantizer):
                found[name] = (str(unrounded(node).target), part)
    return found
