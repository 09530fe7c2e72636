"""A network's cost model: the quantities that a budget can limit, as functions of the kept counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgeprune.model.count import layers
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.quantity import Affine, Counts, Products, Quantity, Weighted, value

Row = tuple[dict[int, int], dict[int, dict[int, int]]]
"""A tensor: axis -> length, and axis -> group -> indices per unit."""


@dataclass(frozen=True)
class Cost:
    """`quantities`: limit name -> quantity, `sparsity` being the channels, `size_mb` and `memory_mb` in bytes."""

    quantities: dict[str, Quantity]
    units: Counts
    """`[groups]`, of the whole network."""
    parameters: Products
    """One row per parameter, in the module's order."""
    latency_from: str | None = None
    """What the milliseconds come from, in words; None where there are none."""

    def macs(self, kept: Counts) -> float:
        return value(self.quantities["macs"], kept)

    def params(self, kept: Counts) -> float:
        return value(self.quantities["params"], kept)

    def channels(self, kept: Counts) -> float:
        """Output channels of all layers together."""
        return value(self.quantities["sparsity"], kept)


def cost_model(traced: Traced, found: Provenance, groups: list[Group]) -> Cost:
    """Build the cost model of a network's multiply-adds, parameters and channels."""
    uses: dict[str, int] = {}
    for layer in layers(traced, found.shapes):
        uses[layer.weight] = uses.get(layer.weight, 0) + layer.reuse
    parameters = dict(traced.module.named_parameters())
    rows: dict[str, Row] = {name: (dict(enumerate(parameter.shape)), {}) for name, parameter in parameters.items()}
    for g, group in enumerate(groups):
        for name, axis in group.places:
            if name in rows:  # buffers cost nothing
                rows[name][1].setdefault(axis, {})[g] = group.width((name, axis))
    units = np.array([len(group.units) for group in groups], dtype=np.int64)
    weights = [*rows.values()]
    sizes = products(weights, units)
    outputs = [_axis(rows[name], axis) for name, axis in found.weights.items() if name in rows]
    reuse = np.array([uses.get(name, 0) for name in rows], dtype=np.float64)
    return Cost(
        {
            "macs": Weighted(sizes, reuse),
            "params": Weighted(sizes, np.ones(len(rows))),
            "sparsity": total(products(outputs, units)),
        },
        units,
        sizes,
    )


def products(rows: list[Row], units: Counts) -> Products:
    """Lay out tensors for fast evaluation."""
    axes = max([1, *(len(held) for _, held in rows)])
    scale, fixed = np.ones(len(rows)), np.ones((len(rows), axes))
    pairs: dict[tuple[int, int], dict[int, int]] = {}
    for r, (lengths, held) in enumerate(rows):
        for axis, length in lengths.items():
            if axis not in held:
                scale[r] *= length
        for place, (axis, widths) in enumerate(held.items()):
            fixed[r, place] = lengths[axis] - sum(width * units[g] for g, width in widths.items())
            for g, width in widths.items():
                pairs.setdefault((r, g), {})[place] = width
    per_unit = np.zeros((len(pairs), axes))
    for pair, places in enumerate(pairs.values()):
        per_unit[pair, list(places)] = list(places.values())
    row, group = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    return Products(scale, fixed, row, group, per_unit, len(units))


def total(lines: Products, parts: Iterable[np.ndarray] | None = None) -> Affine:
    """Sums of sizes that are linear in the counts: of all rows, or one part per given weighting `[rows]`."""
    assert lines.fixed.shape[1] == 1, "a product of two lengths is not linear"
    weights = np.ones((1, len(lines.scale))) if parts is None else np.stack([*parts])
    slope = np.zeros((len(lines.scale), lines.groups))
    np.add.at(slope, (lines.row, lines.group), lines.scale[lines.row] * lines.width[:, 0])
    return Affine(weights @ (lines.scale * lines.fixed[:, 0]), weights @ slope)


def _axis(row: Row, axis: int) -> Row:
    return {axis: row[0][axis]}, {a: held for a, held in row[1].items() if a == axis}
