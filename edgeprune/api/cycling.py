"""CAMP-HiVe on a module that is at hand: in cycles, without training between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgeprune.curvature.low_rank import LowRank, Remainder, low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.merging.cycles import in_cycles
from edgeprune.model.traced import Traced
from edgeprune.pipeline.cycling import merging
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Share
from edgeprune.spec.methods import Cycling
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.strict import parse
from edgeprune.spec.target import Target
from edgeprune.train.network import Network

Data = tuple[Tensor, Tensor]


def check_cycling(method: str, asked: Mapping[str, Any] | None, pattern: Pattern, data: Data | None) -> Cycling:
    """The settings of CAMP-HiVe, checked.

    Raises:
        EdgepruneError: they are another method's, or something is missing.
    """
    found = parse(Cycling, dict(asked or {}), "camp_hive")
    if method != "camp-hive":
        if asked:
            raise EdgepruneError("camp_hive= belongs to method='camp-hive'. Give it too, or leave it out.")
        return found
    if data is None:
        raise EdgepruneError("camp-hive needs labelled images. Give data=(images, labels).")
    if str(pattern) not in ("channel", "unstructured"):
        raise EdgepruneError(f"camp-hive cuts channels or single weights, no {pattern}. Take method='snows' for that.")
    if found.between:
        raise EdgepruneError("between= needs a training loop, and here that is yours. Leave it out.")
    return found


def cycled(
    traced: Traced,
    pattern: Pattern,
    data: Data,
    asked: Cycling,
    share: Share,
    target: Target | None,
    keep: tuple[str, ...],
    seed: int,
) -> Network:
    """A copy with its weights pruned and merged; the caller's weights stay."""
    found = eligible(traced, pattern, target, keep)
    masks = {n: torch.ones(traced.module.get_parameter(n).shape, dtype=torch.bool) for n in found.weights}
    how = merging(asked, Probing(seed=seed), share.most, int(data[1].max()) + 1)
    student, kept, _ = in_cycles(
        traced, masks, share.zeros, asked.count(str(pattern)), *data, how, curved_images=asked.curved_images
    )
    return Network.of(student, str(pattern), kept)


def curved(traced: Traced, weights: list[str], data: Data, asked: Cycling, seed: int) -> LowRank | None:
    """The loss's curvature that ranks channels, where it is to rank them."""
    if asked.ranked_by("channel") == "magnitude":
        return None
    sizes = [traced.module.get_parameter(name).numel() for name in weights]
    probing = Probing(batch_size=asked.batch_size, seed=seed, memory_mb=asked.memory_mb)
    count = min(asked.eigenpairs, int(data[1].max()) + 1)
    remainder: Remainder = "fisher" if asked.ranked_by("channel") == "lowrank+fisher" else "mean"
    live = torch.ones(sum(sizes), dtype=torch.bool)
    x, y = (part[: asked.curved_images] for part in data)
    return low_rank(traced, weights, live, x, y, count, probing, remainder)
