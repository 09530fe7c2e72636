"""Masks: the weights that stay under a mask pattern, and the layers that it does not touch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from edgeprune.curvature.weights import WeightCurvature
from edgeprune.errors import EdgepruneError
from edgeprune.pruning.eligible import Eligible
from edgeprune.pruning.patterns import masks_of
from edgeprune.pruning.weight_scores import WEIGHT_SCORES
from edgeprune.spec.methods import ScoreName
from edgeprune.spec.pattern import Pattern, parse_pattern


@dataclass(frozen=True)
class Masks:
    """`kept`: weight name -> bool of its shape, True where it stays. `ineligible`: weight name -> why it stays dense.

    `narrow`: weights in `kept` for which the target's sparse kernels likely gain nothing.
    """

    pattern: Pattern
    kept: dict[str, Tensor]
    ineligible: dict[str, str]
    narrow: tuple[str, ...] = ()

    @property
    def zeros(self) -> int:
        """How many weights the masks take."""
        return sum(mask.numel() - int(mask.sum()) for mask in self.kept.values())

    @property
    def sparsity(self) -> float:
        """Share of zeros in the weights that the pattern may take."""
        return self.zeros / sum(mask.numel() for mask in self.kept.values())

    def arrays(self) -> dict[str, NDArray[np.bool_]]:
        """The masks as numpy arrays."""
        return {name: mask.numpy() for name, mask in self.kept.items()}


@dataclass(frozen=True)
class Share:
    """How many weights go, for patterns that do not say it: `zeros` of all, at most `most` of a layer's."""

    zeros: float
    most: float


def choose_masks(
    module: nn.Module,
    found: Eligible,
    pattern: Pattern,
    method: ScoreName,
    curvature: WeightCurvature | None,
    share: Share,
) -> Masks:
    """Score the eligible weights and choose.

    Raises:
        EdgepruneError: a weight is not finite, or the share cannot be reached.
    """
    scores = WEIGHT_SCORES[method](module, found.weights, curvature)
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise EdgepruneError(f"{name} holds weights that are not finite. Check the checkpoint.")
    return Masks(pattern, masks_of(scores, pattern, share.zeros, share.most), found.reasons, found.narrow)


def apply_masks(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Set the weights that do not stay to zero, in place."""
    with torch.no_grad():
        for name, mask in kept.items():
            weight = module.get_parameter(name)
            weight.masked_fill_(~mask.to(weight.device), 0)


def save_masks(masks: Masks, path: Path) -> None:
    """Write as safetensors; the caller makes it atomic."""
    words = {
        "pattern": str(masks.pattern),
        "ineligible": json.dumps(masks.ineligible),
        "narrow": json.dumps(masks.narrow),
    }
    path.write_bytes(to_bytes({name: mask.contiguous() for name, mask in masks.kept.items()}, metadata=words))


def load_masks(path: Path) -> Masks:
    """Read what `save_masks` wrote."""
    with safe_open(path, framework="pt") as file:
        words = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Masks(
        parse_pattern(words["pattern"]), kept, json.loads(words["ineligible"]), tuple(json.loads(words["narrow"]))
    )
