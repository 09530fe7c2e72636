"""A network's cost model: the quantities that a budget can limit, as functions of the kept counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, fx

from edgeprune.model.attributes import attribute
from edgeprune.model.count import Layer, layers, products
from edgeprune.model.groups import Group
from edgeprune.model.labels import FROZEN
from edgeprune.model.operators import name_of
from edgeprune.model.products import Product
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.quantity import Affine, Counts, Floats, Products, Quantity, Weighted, value

Row = tuple[dict[int, int], dict[int, dict[int, float]]]
"""A tensor: axis -> length, and axis -> group -> indices per unit."""


@dataclass(frozen=True)
class Cost:
    """`quantities`: limit name -> quantity, `sparsity` being the channels, `size_mb` and `memory_mb` in bytes."""

    quantities: dict[str, Quantity]
    units: Counts
    """`[groups]`, of the whole network."""
    parameters: Products
    """One row per parameter, in the module's order."""
    tensors: Products
    """The same, then one row for each other tensor that a layer contracts (`contracted`)."""
    uses: Products
    """Multiply-adds of layers, one row per use of a weight, in the order of `count.layers`."""
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
    used, index = layers(traced, found.shapes), label_index(groups)
    parameters = [name for name, _ in traced.module.named_parameters()]
    rows = _rows(traced, groups, contracted(traced, used))
    units = np.array([len(group.units) for group in groups], dtype=np.int64)
    sizes = laid_out([rows[name] for name in parameters], units)
    nodes = {node.name: node for node in traced.module.graph.nodes}
    uses = [_use(each, nodes[each.node], rows[each.weight], found.nodes[each.node], index) for each in used]
    between = [_product(each, found, index) for each in products(traced, found.shapes)]
    every = laid_out([*uses, *between], units)
    outputs = [_axis(rows[name], axis) for name, axis in found.weights.items() if name in rows]
    return Cost(
        {
            "macs": Weighted(every, np.ones(len(every.scale))),
            "params": Weighted(sizes, np.ones(len(parameters))),
            "sparsity": total(laid_out(outputs, units)),
        },
        units,
        sizes,
        laid_out([*rows.values()], units),
        laid_out(uses, units),
    )


def _rows(traced: Traced, groups: list[Group], names: list[str]) -> dict[str, Row]:
    rows: dict[str, Row] = {name: (dict(enumerate(attribute(traced.module, name).shape)), {}) for name in names}
    for g, group in enumerate(groups):
        for name, axis in group.places:
            if name in rows:
                rows[name][1].setdefault(axis, {})[g] = group.width((name, axis))
    return rows


def lengths(traced: Traced, groups: list[Group], names: list[str], axis: int) -> Affine:
    """The length of tensors along an axis that they all have: one part for each name, which may come twice."""
    rows = _rows(traced, groups, names)
    units = np.array([len(group.units) for group in groups], dtype=np.int64)
    return total(laid_out([_axis(rows[name], axis) for name in names], units), np.eye(len(names)))


def contracted(traced: Traced, used: list[Layer]) -> list[str]:
    """The parameters, and the buffers that layers contract: those count for their multiply-adds alone."""
    return list(dict.fromkeys([*(name for name, _ in traced.module.named_parameters()), *(u.weight for u in used)]))


def _use(layer: Layer, node: fx.Node, weight: Row, labels: Tensor, index: Index) -> Row:
    """The multiply-adds of one use of a weight: its axes, and the places where it is used.

    Where those are channels, as in a layer that mixes tokens, they are cut too.
    """
    lengths, held = weight
    beside = len(lengths)
    places: dict[int, float] = {}
    varying = [axis for axis, length in enumerate(labels.shape) if length > 1]
    if varying and varying != [_output_axis(node, labels.dim())]:
        places = _held(labels, layer.reuse, index)
    return lengths | {beside: layer.reuse}, held | ({beside: places} if places else {})


def _product(product: Product, found: Provenance, index: Index) -> Row:
    """The multiply-adds of a product of activations: its outer elements, and the length that they are summed over."""
    lengths = {0: product.elements, 1: product.reuse}
    outer = found.nodes.get(product.outer)  # a parameter is none of these, and counts as whole
    held = {0: _held(outer, lengths[0], index) if outer is not None else {}}
    if product.inner is not None:
        node, axis = product.inner
        lengths[2] = found.shapes[node][axis]
        labels = found.nodes[node].movedim(axis, -1) if node in found.nodes else None
        line = labels.reshape(-1, labels.shape[-1])[0] if labels is not None else None
        held[2] = _held(line, lengths[2], index) if line is not None and len(line.unique()) > 1 else {}
    return lengths, {axis: groups for axis, groups in held.items() if groups}


def _held(labels: Tensor, length: int, index: Index) -> dict[int, float]:
    """Group -> indices per unit, of `length` in all: labels hold one where the channels do not vary."""
    per_unit = index.per_unit(labels) * (length / labels.numel())
    return {int(g): float(per_unit[g]) for g in np.flatnonzero(per_unit)}


def _output_axis(node: fx.Node, rank: int) -> int:
    """The axis of a layer's output along which its own channels lie."""
    if name_of(node).startswith("conv"):
        return 1
    first = node.args[0]
    return rank - 2 if isinstance(first, fx.Node) and first.op == "get_attr" else rank - 1


@dataclass(frozen=True)
class Index:
    """Which group holds a label. `of`: `[labels]`, the number of groups for those of none."""

    of: Counts
    units: Counts

    def count(self, labels: Tensor) -> Counts:
        """How many of the labels each group holds, `[groups]`."""
        known = labels.flatten().numpy()
        return np.bincount(self.of[known[known < len(self.of)]], minlength=len(self.units) + 1)[:-1]

    def per_unit(self, labels: Tensor) -> Floats:
        found: Floats = self.count(labels) / self.units
        return found


def label_index(groups: list[Group]) -> Index:
    of = np.full(1 + max((unit for group in groups for unit in group.units), default=FROZEN), len(groups))
    for g, group in enumerate(groups):
        of[list(group.units)] = g
    return Index(of, np.array([len(group.units) for group in groups], dtype=np.int64))


def laid_out(rows: list[Row], units: Counts) -> Products:
    """Lay out tensors for fast evaluation."""
    axes = max([1, *(len(held) for _, held in rows)])
    scale, fixed = np.ones(len(rows)), np.ones((len(rows), axes))
    pairs: dict[tuple[int, int], dict[int, float]] = {}
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
