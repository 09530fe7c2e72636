"""What a network costs as a function of how many units each channel group keeps.

Every parameter's axis is as long as `fixed + sum over groups of kept_g * width_g`; the multiply-adds of a layer
are its weight's size times how often each weight is used. So MACs, parameters and channels follow exactly from
the kept counts, without building any network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeprune.model.count import layers
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """A network's cost model over its parameters; axes that a parameter lacks have length 1."""

    fixed: Counts
    """`[parameters, axes]`: the part of each length that no group holds."""
    widths: Counts
    """`[parameters, axes, groups]`: indices per unit."""
    units: Counts
    """`[groups]`: how many units each has when whole."""
    reuse: Counts
    """`[parameters]`: how often each weight is used for one image; 0 for what is no layer's weight."""
    weight: NDArray[np.bool_]
    """`[parameters]`: whether it is a layer's weight."""

    def macs(self, kept: Counts) -> float:
        return float(self._lengths(kept).prod(1) @ self.reuse)

    def params(self, kept: Counts) -> float:
        return float(self._lengths(kept).prod(1).sum())

    def channels(self, kept: Counts) -> float:
        """Output channels of all layers together."""
        return float(self._lengths(kept)[self.weight, 0].sum())

    def only(self, groups: list[int]) -> Cost:
        """The cost as a function of some groups, the others being whole (`fixed` as built counts them out)."""
        rest = [g for g in range(self.widths.shape[2]) if g not in groups]
        fixed = self.fixed + self.widths[:, :, rest] @ self.units[rest]
        return replace(self, fixed=fixed, widths=self.widths[:, :, groups], units=self.units[groups])

    def _lengths(self, kept: Counts) -> Counts:
        lengths: Counts = self.fixed + self.widths @ kept
        return lengths


def cost_model(traced: Traced, found: Provenance, groups: list[Group]) -> Cost:
    """Build the cost model of a network."""
    uses: dict[str, int] = {}
    for layer in layers(traced, found.shapes):
        uses[layer.weight] = uses.get(layer.weight, 0) + layer.reuse
    parameters = dict(traced.module.named_parameters())
    axes = max(parameter.dim() for parameter in parameters.values())
    counts = np.array([len(group.units) for group in groups], dtype=np.int64)
    lengths = np.ones((len(parameters), axes), dtype=np.int64)
    widths = np.zeros((len(parameters), axes, len(groups)), dtype=np.int64)
    for row, (name, parameter) in enumerate(parameters.items()):
        for axis, size in enumerate(parameter.shape):
            lengths[row, axis] = size
            widths[row, axis] = [_width(group, name, axis) for group in groups]
    return Cost(
        fixed=lengths - widths @ counts,
        widths=widths,
        units=counts,
        reuse=np.array([uses.get(name, 0) for name in parameters], dtype=np.int64),
        weight=np.array([name in found.weights for name in parameters]),
    )


def _width(group: Group, name: str, axis: int) -> int:
    return group.width((name, axis)) if (name, axis) in group.places else 0
