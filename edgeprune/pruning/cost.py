"""What a network costs as a function of how many units each channel group keeps.

Every parameter's axis is as long as `fixed + sum over groups of kept_g * width_g`; the multiply-adds of a layer
are its weight's size times how often each weight is used. So MACs, parameters and channels follow exactly from
the kept counts, without building any network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.model.count import layers
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Length:
    """An axis's length as a function of the kept counts."""

    fixed: int
    widths: Counts
    """Indices per unit, for each group: `[groups]`."""

    def at(self, kept: Counts) -> int:
        return int(self.fixed + self.widths @ kept)


@dataclass(frozen=True)
class Block:
    """A parameter: its axes' lengths, how often each of its weights is used, whether it is a layer's weight."""

    lengths: tuple[Length, ...]
    reuse: int
    weight: bool

    def size(self, kept: Counts) -> int:
        size = 1
        for length in self.lengths:
            size *= length.at(kept)
        return size


@dataclass(frozen=True)
class Cost:
    """A network's cost model."""

    blocks: tuple[Block, ...]

    def macs(self, kept: Counts) -> float:
        return float(sum(block.size(kept) * block.reuse for block in self.blocks))

    def params(self, kept: Counts) -> float:
        return float(sum(block.size(kept) for block in self.blocks))

    def channels(self, kept: Counts) -> float:
        """Output channels of all layers together."""
        return float(sum(block.lengths[0].at(kept) for block in self.blocks if block.weight))

    def aligned(self, kept: Counts, group: int, multiple: int) -> bool:
        """Whether the layers' axes that hold a group have lengths that are multiples, or untouched."""
        for block in self.blocks:
            for length in block.lengths[:2] if block.weight else ():
                if length.widths[group] and length.at(kept) % multiple:
                    return False
        return True


def cost_model(traced: Traced, found: Provenance, groups: list[Group]) -> Cost:
    """Build the cost model of a network."""
    reuse: dict[str, int] = {}
    for layer in layers(traced, found.shapes):
        reuse[layer.weight] = reuse.get(layer.weight, 0) + layer.reuse
    blocks = []
    for name, parameter in traced.module.named_parameters():
        lengths = []
        for axis, size in enumerate(parameter.shape):
            widths = np.array([_width(group, name, axis) for group in groups], dtype=np.int64)
            counts = np.array([len(group.units) for group in groups], dtype=np.int64)
            lengths.append(Length(int(size - widths @ counts), widths))
        blocks.append(Block(tuple(lengths), reuse.get(name, 0), name in found.weights))
    return Cost(tuple(blocks))


def _width(group: Group, name: str, axis: int) -> int:
    return group.width((name, axis)) if (name, axis) in group.places else 0
