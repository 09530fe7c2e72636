"""Parts: what a budget is divided among, layers under a mask pattern or groups of channels, and where their units lie.

A part is thinned by losing its lowest scored *units*: single weights, blocks of a 1xN pattern, or channels. So an
allocation is one number per part, how many units it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.model.count import layers
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.patterns import block_scores, spread_blocks
from edgeprune.pruning.quantity import Counts, Floats
from edgeprune.pruning.score import Scores
from edgeprune.spec.pattern import Pattern

Kept = tuple[int, ...]
"""How many units each part keeps."""


@dataclass(frozen=True)
class Part:
    """A layer or a group. Of its units at least `least` and at most `most` stay, those with the highest `scores`."""

    name: str
    scores: Floats
    """`[units]`"""
    least: int
    most: int
    size: int
    """Weights per unit."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the weights whose outputs, or single elements, are its units."""
    macs: int
    """Of those weights, in the whole network."""

    @property
    def units(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Lot:
    """The parts, and where their units lie in the network.

    `ranks`: parameter -> (part, rank of the unit that holds each element, broadcasting against the parameter); the
    element stays as long as its rank is below the number of units kept. Rank -1: it stays in any case.
    """

    parts: tuple[Part, ...]
    ranks: dict[str, list[tuple[int, Tensor]]]

    @property
    def units(self) -> Counts:
        return np.array([part.units for part in self.parts], dtype=np.int64)

    @property
    def sizes(self) -> Counts:
        return np.array([part.size for part in self.parts], dtype=np.int64)

    @property
    def least(self) -> Counts:
        return np.array([part.least for part in self.parts], dtype=np.int64)

    @property
    def most(self) -> Counts:
        return np.array([part.most for part in self.parts], dtype=np.int64)

    def masks(self, kept: Sequence[int]) -> dict[str, Tensor]:
        """Parameter -> bool, True where an element stays; it broadcasts against the parameter."""
        found: dict[str, Tensor] = {}
        for name, places in self.ranks.items():
            for part, rank in places:
                stays = rank < kept[part]
                found[name] = found[name] & stays if name in found else stays
        return found

    def sparsity(self, kept: Sequence[int]) -> float:
        """Share of the units' weights that go."""
        whole = float((self.units * self.sizes).sum())
        return 1 - float((np.array(kept) * self.sizes).sum()) / whole


def mask_lot(
    traced: Traced, scores: Mapping[str, Tensor], pattern: Pattern, least: float, live: Mapping[str, Tensor] | None
) -> Lot:
    """One part per weight. `least`: share of its units that stay; `live`: masks of before, which stay masked.

    Raises:
        EdgepruneError: a score is not finite.
    """
    macs: dict[str, int] = {}
    for layer in layers(traced):
        macs[layer.weight] = macs.get(layer.weight, 0) + layer.macs
    parts, ranks = [], {}
    rows = pattern.rows if pattern.kind == "blocks" else 0
    for index, (name, score) in enumerate(scores.items()):
        if not bool(score.isfinite().all()):
            raise EdgepruneError(f"{name} holds weights that are not finite. Check the checkpoint.")
        units = block_scores(score, rows).flatten()
        if live is not None:
            units[block_scores(live[name].double(), rows).flatten() == 0] = -1.0
        most = int((units >= 0).sum())
        floor = min(most, max(1, math.ceil(least * len(units))))
        shape = tuple(score.shape)
        size = score.numel() // len(units)
        parts.append(Part(name, units.clamp_min(0).numpy(), floor, most, size, (shape,), macs[name]))
        ranks[name] = [(index, spread_blocks(_ranks(units), torch.Size(shape), rows))]
    return Lot(tuple(parts), ranks)


def group_lot(traced: Traced, found: Provenance, groups: list[Group], scores: Scores, ladders: Sequence[Counts]) -> Lot:
    """One part per channel group. `ladders`: the counts of units that each may keep, in any order."""
    macs: dict[str, int] = {}
    for layer in layers(traced, found.shapes):
        macs[layer.weight] = macs.get(layer.weight, 0) + layer.macs
    parts: list[Part] = []
    ranks: dict[str, list[tuple[int, Tensor]]] = {}
    parameters = dict(traced.module.named_parameters())
    for index, (group, ladder) in enumerate(zip(groups, ladders, strict=True)):
        score = scores.value[group.name]
        if not bool(score.isfinite().all()):
            raise EdgepruneError(f"{group.name} holds weights that are not finite. Check the checkpoint.")
        shapes = tuple(tuple(parameters[weight].shape) for weight in group.producers)
        weights = sum(math.prod(shape) for shape in shapes) // len(group.units)
        total = sum(macs.get(weight, 0) for weight in group.producers)
        parts.append(Part(group.name, score.numpy(), int(min(ladder)), int(max(ladder)), weights, shapes, total))
        rank = _ranks(score)
        for (name, axis), places in group.places.items():
            if name not in parameters:
                continue
            along = torch.full((parameters[name].shape[axis],), -1, dtype=torch.int32)
            along[places.flatten()] = rank.repeat_interleave(places.shape[1])
            view = [1] * parameters[name].dim()
            view[axis] = -1
            ranks.setdefault(name, []).append((index, along.view(view)))
    return Lot(tuple(parts), ranks)


def _ranks(scores: Tensor) -> Tensor:
    """The place of each in descending order, int32; of equal scores the first comes first."""
    order = scores.argsort(descending=True, stable=True)
    return torch.empty(len(scores), dtype=torch.int32).scatter_(0, order, torch.arange(len(order), dtype=torch.int32))
