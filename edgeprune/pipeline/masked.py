"""Mask patterns on a network that is at hand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.gram import solved_moments
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.curvature.weights import WeightCurvature, input_moments
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks
from edgeprune.spec.methods import ScoreName
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Scoring:
    """How weights are scored; `data` is for methods that need curvature."""

    scores: ScoreName
    data: tuple[Tensor, Tensor] | None
    probing: Probing
    known: Curvature | None = None
    """Traces that were estimated before."""


def mask(
    traced: Traced, pattern: Pattern, scoring: Scoring, share: Share, target: Target | None, keep: tuple[str, ...]
) -> Masks:
    """Choose the masks of a network and apply them to it, in place.

    Raises:
        EdgepruneError: no layer is eligible, the share cannot be reached, or the method lacks its data.
    """
    found = eligible(traced, pattern, target, keep)
    curvature = None
    if scoring.scores in LOOKS_AT_IMAGES:
        if scoring.data is None:
            raise EdgepruneError(f"{scoring.scores} needs labelled images. Give data=(images, labels).")
        curvature = weight_curvature(
            traced, scoring.scores, found.weights, pattern, *scoring.data, scoring.probing, silent, scoring.known
        )
    masks = choose_masks(traced.module, found, pattern, scoring.scores, curvature, share)
    apply_masks(traced.module, masks.kept)
    return masks


LOOKS_AT_IMAGES: frozenset[ScoreName] = frozenset({"hap", "wanda", "obs"})


def weight_curvature(
    traced: Traced,
    scores: ScoreName,
    weights: tuple[str, ...],
    pattern: Pattern,
    x: Tensor,
    y: Tensor,
    probing: Probing,
    tick: Tick,
    known: Curvature | None = None,
) -> WeightCurvature:
    """What some scores need for a pattern. Of `hap` within N:M the layer's trace cancels, and is not estimated."""
    if scores == "obs":
        return WeightCurvature(solved_moments(traced, weights, x, probing.batch_size), None)
    inputs = input_moments(traced, weights, x, probing.batch_size)
    if scores == "wanda" or pattern.kind == "n:m":
        return WeightCurvature(inputs, None)
    if known is None:
        known = channel_traces(traced, dict.fromkeys(weights, 0), x, y, probing, tick)
    return WeightCurvature(inputs, known)
