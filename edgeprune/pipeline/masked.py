"""Mask patterns on a network that is at hand, for the Python API."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.curvature.factors import rows_and_columns
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.progress import silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks
from edgeprune.pruning.methods import NEEDS_CURVATURE
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.recipe import MethodName
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Scoring:
    """How weights are scored: `data` and `probes` are for methods that need curvature."""

    method: MethodName
    data: tuple[Tensor, Tensor] | None
    probes: int
    seed: int


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
        images, labels = scoring.data
        curvature = channel_traces(
            traced,
            dict.fromkeys(found.weights, 0),
            images,
            labels,
            scoring.probes,
            len(images),
            scoring.seed,
            silent,
            lambda _: False,
            reduce=rows_and_columns,
        )
    with torch.no_grad():
        masks = choose_masks(traced.module, found, pattern, scoring.method, curvature, share)
    apply_masks(traced.module, masks.kept)
    return masks
