"""CAMP-HiVe on a module that is at hand: in cycles, without training between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from edgeprune.api.modules import cut_out
from edgeprune.compact.sensitivity import before_training, sensitivities
from edgeprune.curvature.low_rank import LowRank, Remainder, low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.merging.channels import merge_channels
from edgeprune.merging.cycles import in_cycles
from edgeprune.merging.selection import schedule
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced
from edgeprune.pipeline.cycling import merging
from edgeprune.pruning import coupling
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.levels import Limits, floors
from edgeprune.pruning.masks import Share
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.portions import Left
from edgeprune.reconstruction.cascade import Walking
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Cycling, check_for_channels
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.strict import parse
from edgeprune.spec.target import Target
from edgeprune.train.network import Network

Data = tuple[Tensor, Tensor]


def check_cycling(
    method: str,
    asked: Mapping[str, Any] | None,
    pattern: Pattern,
    data: Data | None,
    compensate: str,
    implant_ratio: float,
) -> Cycling:
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
    check_for_channels(found, str(pattern))
    if compensate != "none":
        raise EdgepruneError(f"camp-hive merges by itself. Leave compensate={compensate!r} out.")
    if implant_ratio and found.merge != "none":
        raise EdgepruneError("implants are trained from zero, which nothing is merged into. Leave one of them out.")
    if found.between:
        raise EdgepruneError("between= needs a training loop, and here that is yours. Leave it out.")
    return found


def drawn(data: Data, count: int, seed: int) -> Data:
    """So many of the images with their labels, at random: they may come in order of their classes."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data[0]), generator=generator)[:count]
    return data[0][chosen.to(data[0].device)], data[1][chosen.to(data[1].device)]


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
    how = merging(asked, Probing(seed=seed), share.most, _classes(data))
    x, y = drawn(data, asked.images, seed)
    count = asked.count(str(pattern))
    student, kept, _ = in_cycles(traced, masks, share.zeros, count, x, y, how, curved_images=asked.curved_images)
    return Network.of(student, str(pattern), kept)


def channels_cycled(
    traced: Traced,
    ground_of: Callable[[Traced], Prunable],
    limits: Limits,
    budget: Budget,
    asked: Cycling,
    data: Data,
    example: Tensor,
    measured: bool,
    implant_ratio: float,
    seed: int,
) -> Network:
    """A copy with its channels cut and merged in cycles.

    Args:
        traced: the network; it is not changed.
        ground_of: what may be cut of a network, with the costs that the budget limits.
        limits: the widths that may be.
        budget: what must hold at the end.
        asked: how.
        data: images, and labels.
        example: images that the cuts are proven on.
        measured: how much each group loses is measured, not summed up from scores.
        implant_ratio: share of the cut channels that get an implant.
        seed: of what is drawn.

    Raises:
        EdgepruneError: the budget cannot be met, or a proof fails.
    """
    x, y = drawn(data, asked.images, seed)
    ground, count = ground_of(traced), asked.count("channel")
    coupling.check(ground, budget, limits)
    left, at, limits = Left.of(ground.cost), traced, replace(limits, floors=floors(ground.groups, limits))
    for cycle in range(1, count + 1):
        portion = left.portion(budget.limits, schedule(1.0, cycle, count), ground.cost)
        if portion is None:
            continue
        before, known = ground, _curved(at, [*ground.weights], (x, y), _classes(data), asked, seed)
        scores = METHODS["camp-hive"](at.module, before.groups, known, "zero")
        if measured:
            curves = sensitivities(at, before.found, before.groups, scores, limits, x)
            scores = replace(scores, measured=before_training(curves) if asked.merge == "none" else curves)

        def chosen(free: list[Group]) -> Cuts:
            return coupling.choose(before, scores, portion, limits, free, implant_ratio)  # noqa: B023

        done = cut_out(at, before, chosen, example, stacklevel=4)
        left = left.after(done.cuts.reached, before.cost)
        if asked.merge == "none":
            at = done.traced
        else:
            walking = Walking(batch_size=asked.batch_size, memory_mb=asked.memory_mb)
            at = merge_channels(at, before.found, done.cuts.units, x, walking, how=asked.merge)[0]
        if cycle < count:
            ground = ground_of(at)
    return Network.of(at)


def _classes(data: Data) -> int:
    return int(data[1].max()) + 1


def _curved(traced: Traced, weights: list[str], data: Data, classes: int, asked: Cycling, seed: int) -> LowRank | None:
    """The loss's curvature that ranks channels, where it is to rank them."""
    if asked.ranked_by("channel") == "magnitude":
        return None
    sizes = [traced.module.get_parameter(name).numel() for name in weights]
    probing = Probing(batch_size=asked.batch_size, seed=seed, memory_mb=asked.memory_mb)
    remainder: Remainder = "fisher" if asked.ranked_by("channel") == "lowrank+fisher" else "mean"
    live = torch.ones(sum(sizes), dtype=torch.bool)
    x, y = (part[: asked.curved_images] for part in data)
    return low_rank(traced, weights, live, x, y, min(asked.eigenpairs, classes), probing, remainder)
