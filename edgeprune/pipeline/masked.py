"""Mask patterns on a network that is at hand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgeprune.curvature.trace import channel_traces
from edgeprune.curvature.weights import WeightCurvature, input_moments
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks
from edgeprune.pruning.methods import NEEDS_CURVATURE
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.recipe import MethodName
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Probing:
    """How curvature is estimated: Hutchinson probes, images at a time, seed of the probes."""

    probes: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Scoring:
    """How weights are scored; `data` is for methods that need curvature."""

    method: MethodName
    data: tuple[Tensor, Tensor] | None
    probing: Probing


def mask(
    traced: Traced, pattern: Pattern, scoring: Scoring, share: Share, target: Target | None, keep: tuple[str, ...]
) -> Masks:
    """Choose the masks of a network and apply them to it, in place.

    Raises:
        EdgepruneError: no layer is eligible, the share cannot be reached, or the method lacks its data.
    """
    found = eligible(traced, pattern, target, keep)
    curvature = None
    if scoring.method in NEEDS_CURVATURE:
        if scoring.data is None:
            raise EdgepruneError(f"{scoring.method} needs labelled images. Give data=(images, labels).")
        curvature = weight_curvature(traced, found.weights, pattern, *scoring.data, scoring.probing, silent)
    masks = choose_masks(traced.module, found, pattern, scoring.method, curvature, share)
    apply_masks(traced.module, masks.kept)
    return masks


def weight_curvature(
    traced: Traced, weights: tuple[str, ...], pattern: Pattern, x: Tensor, y: Tensor, probing: Probing, tick: Tick
) -> WeightCurvature:
    """What `hap` needs for a pattern: within N:M the output channels' traces cancel, and are not estimated."""
    inputs = input_moments(traced, weights, x, probing.batch_size)
    if pattern.kind == "n:m":
        return WeightCurvature(inputs, None)
    axes = dict.fromkeys(weights, 0)
    found = channel_traces(traced, axes, x, y, probing.probes, probing.batch_size, probing.seed, tick, lambda _: False)
    return WeightCurvature(inputs, found)
