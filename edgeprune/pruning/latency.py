"""Milliseconds of one image: by a table of measured layers, or by a roofline, scaled to measured layer times if any.

A layer takes `max(MACs / peak, bytes moved / bandwidth)` (Williams, Waterman and Patterson 2009, the roofline model),
its bytes being those of its input, output and weights. What stands between layers (normalisation, activations, adds)
counts as fused into them. With a profile of the target, each layer takes what was measured of it, times what the
roofline says of its smaller self over its whole self; where the target states no peaks, times its share of MACs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.model.count import layers
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import contracted
from edgeprune.pruning.layer_rules import owner
from edgeprune.pruning.memory import WIDTH_BYTES, activations
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Affine, Counts, Floats, Products, Quantity
from edgeprune.pruning.tabled import tabled
from edgeprune.spec.profile import Profile
from edgeprune.spec.speeds import Measured, Peaks, measured, peaks
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Roofline:
    """The sum over layers of the slower of computing and moving, plus a constant.

    `uses`: multiply-adds, a row per layer; `compute`: milliseconds per one. `row`: each layer's weight in `weights`;
    `carry`: milliseconds per element of it. `moved`: milliseconds of moving activations, a part per layer.
    """

    uses: Products
    compute: Floats
    weights: Products
    row: Counts
    carry: Floats
    moved: Affine
    constant: float = 0.0

    def layers(self, kept: Counts) -> Floats:
        """Milliseconds, `[layers]`."""
        carried = self.carry * self.weights.sizes(kept)[self.row] + self.moved.at(kept)
        found: Floats = np.maximum(self.compute * self.uses.sizes(kept), carried)
        return found

    def at(self, kept: Counts) -> Floats:
        return np.array([self.layers(kept).sum() + self.constant])

    def saved(self, kept: Counts, fewer: Counts) -> Floats:
        computed = self.uses.sizes(kept)[:, None] - _each(self.uses, kept, fewer)
        weights = (self.weights.sizes(kept)[:, None] - _each(self.weights, kept, fewer))[self.row]
        moved = self.moved.at(kept)[:, None] - self.moved.saved(kept, fewer)
        after = np.maximum(self.compute[:, None] * computed, self.carry[:, None] * weights + moved)
        saved: Floats = (self.layers(kept)[:, None] - after).sum(0)
        return saved[None]

    @property
    def separable(self) -> bool:
        return False

    @property
    def stepped(self) -> bool:
        return False


def _each(products: Products, kept: Counts, fewer: Counts) -> Floats:
    """By how much each row shrinks if one group alone keeps `fewer` units less, `[rows, groups]`."""
    shrunk = np.zeros((len(products.scale), products.groups))
    shrunk[products.row, products.group] = products.shrunk(kept, fewer)
    return shrunk


def roofline(traced: Traced, ground: Prunable, peaks: Peaks) -> Roofline:
    """The estimate from peaks at INT8."""
    elements = activations(ground.found, ground.groups)
    inputs = {node.name: node.all_input_nodes[0].name for node in traced.module.graph.nodes if node.all_input_nodes}
    every = layers(traced, ground.found.shapes)
    rows = {name: row for row, name in enumerate(contracted(traced, every))}
    nothing = (0.0, np.zeros(len(ground.groups)))
    touched = [(elements[layer.node], elements.get(inputs[layer.node], nothing)) for layer in every]
    per_byte = WIDTH_BYTES["int8"] / peaks.bytes_per_ms
    return Roofline(
        uses=ground.cost.uses,
        compute=np.full(len(every), 1 / peaks.macs_per_ms),
        weights=ground.cost.tensors,
        row=np.array([rows[layer.weight] for layer in every], dtype=np.int64),
        carry=np.full(len(every), per_byte),
        moved=Affine(
            per_byte * np.array([out[0] + into[0] for out, into in touched]),
            per_byte * np.stack([out[1] + into[1] for out, into in touched]),
        ),
    )


def scaled(estimate: Roofline, names: list[str], units: Counts, profile: Profile) -> Roofline | None:
    """The estimate with every layer at its measured time when whole, and all else as it is; None of another network.

    `names`: of the layers in the estimate's order; a weight that is used twice was measured under one name.
    """
    times = {row.name: row.ms for row in profile.layers or ()}
    if not set(names) <= {name for name, ms in times.items() if ms > 0} or _was_cut(profile):
        return None
    whole = estimate.layers(units)
    together = {name: float(whole[[other == name for other in names]].sum()) for name in names}
    factor = np.array([times[name] / together[name] for name in names])
    return replace(
        estimate,
        compute=estimate.compute * factor,
        carry=estimate.carry * factor,
        moved=Affine(estimate.moved.constant * factor, estimate.moved.slope * factor[:, None]),
        constant=sum(ms for name, ms in times.items() if name not in together),
    )


def _was_cut(profile: Profile) -> bool:
    """Whether the profiled network is known to be no longer whole."""
    shapes = [row.shape for row in profile.layers or () if row.shape is not None]
    return any((s.inputs, s.outputs) != (s.whole_inputs, s.whole_outputs) for s in shapes)


def latency(traced: Traced, ground: Prunable, target: Target, precision: str, file: str | None) -> tuple[Quantity, str]:
    """Milliseconds as a function of the kept counts, and in words what they come from.

    Raises:
        EdgepruneError: nothing fits: the profile is of another network, or the target states no peaks.
    """
    known = measured(target, precision, file)
    by_table = tabled(traced, ground, known)
    if by_table is not None:
        return by_table
    stated = peaks(target, precision)
    # Without peaks only shares of multiply-adds count, whose unit the measured times then set.
    estimate = roofline(traced, ground, stated or Peaks(1.0, np.inf))
    names = [owner(layer.weight) for layer in layers(traced, ground.found.shapes)]
    for profile in known.profiles:
        fitted = scaled(estimate, names, ground.cost.units, profile)
        if fitted is not None:
            by = "a roofline" if stated else "multiply-adds"
            return fitted, f"measured layer times of {profile.name} ({profile.date}), scaled by {by}"
    if file is not None:
        raise EdgepruneError(_unfitting(file, known, names))
    if stated is None:
        raise EdgepruneError(
            f"--latency-ms: no shipped profile of {target.name} is of this network, and the target states no peaks. "
            "Limit --macs instead, or give --latency-profile."
        )
    return estimate, f"a roofline of {target.name}'s stated peaks, not measured"


def _unfitting(file: str, known: Measured, names: list[str]) -> str:
    """Why a file that was named says nothing of the network."""
    if not known.profiles:
        return f"{file}: times no layers of this network's shapes. Measure its own: edgeprune profile BUNDLE --layers."
    there = {row.name for row in known.profiles[0].layers or ()}
    absent = next((name for name in names if name not in there), names[0])
    return f"{file}: has no time of layer {absent}. Give a profile of the dense network itself."
