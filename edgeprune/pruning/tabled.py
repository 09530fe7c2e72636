"""From a measured table, and a profile of the network where there is one, to milliseconds as a quantity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprune.model.count import layers
from edgeprune.model.layer_shapes import Widths, named_layers
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import lengths
from edgeprune.pruning.layer_table import Surface, Tabled, surface
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Affine, Floats
from edgeprune.spec.layer_costs import Family, LayerCosts
from edgeprune.spec.profile import BETWEEN, LayerTime, Profile
from edgeprune.spec.speeds import Measured

LEAST_COVERED = 0.9
"""Share of the multiply-adds whose layers a table must have."""

Named = list[tuple[str, Family | None, Widths]]


def tabled(traced: Traced, ground: Prunable, known: Measured) -> tuple[Tabled, str] | None:
    """Milliseconds by the newest table that has the network's layers, and in words where from; None without one."""
    shapes = ground.found.shapes
    named = named_layers(traced, shapes)
    every = layers(traced, shapes)
    macs = np.array([layer.macs for layer in every], dtype=np.float64)
    inputs, outputs = (lengths(traced, ground.groups, [layer.weight for layer in every], axis) for axis in (1, 0))
    if not _by_widths(ground, inputs, outputs, macs):
        return None
    for table in known.tables:
        found = {grid.family: surface(grid, table.multiple) for grid in table.grids}
        surfaces = tuple(found.get(family) if family is not None else None for _, family, _ in named)
        covered = np.array([each is not None for each in surfaces])
        if macs[covered].sum() < LEAST_COVERED * macs.sum():
            continue
        alike = (p for p in known.profiles if p.machine.threads == table.threads)
        profile = next((p for p in alike if _is_of(p, named)), None)
        made = _quantity(ground, named, Known(surfaces, macs, inputs, outputs), profile)
        return made, _words(table, profile, int(covered.sum()), len(named))
    return None


def _by_widths(ground: Prunable, inputs: Affine, outputs: Affine, macs: Floats) -> bool:
    """Whether multiply-adds go with the layers' widths alone; where a cut takes tokens, their number changes too."""
    units = ground.cost.units
    half = np.maximum(units // 2, 1)
    share = inputs.at(half) * outputs.at(half) / np.maximum(inputs.at(units) * outputs.at(units), 1.0)
    return bool(np.allclose(ground.cost.uses.sizes(half), share * macs, rtol=1e-6))


@dataclass(frozen=True)
class Known:
    """`[layers]` throughout: surfaces, multiply-adds of the whole network, and widths by the kept counts."""

    surfaces: tuple[Surface | None, ...]
    macs: Floats
    inputs: Affine
    outputs: Affine


def _quantity(ground: Prunable, named: Named, known: Known, profile: Profile | None) -> Tabled:
    surfaces, macs, inputs, outputs = known.surfaces, known.macs, known.inputs, known.outputs
    rows = {row.name: row for row in profile.layers or ()} if profile is not None else {}
    whole = np.array([widths for _, _, widths in named], dtype=np.float64)
    factor = _factors(named, surfaces, rows)
    by_table = np.array([table is not None for table in surfaces])
    alone = np.array(
        [
            0.0 if table is None else float(table.at(*pair[:, None])[0])
            for table, pair in zip(surfaces, whole, strict=True)
        ]
    )
    pairs = np.maximum(inputs.at(ground.cost.units) * outputs.at(ground.cost.units), 1.0)
    slopes = (inputs.slope != 0) | (outputs.slope != 0)
    between, constant = _rest(profile, rows, named)
    return Tabled(
        surfaces=surfaces,
        inputs=inputs,
        outputs=outputs,
        factor=factor,
        macs=macs / pairs,
        ms_per_mac=float(np.median((factor * alone / np.maximum(macs, 1.0))[by_table])),
        elements=np.array([family.reuse if family is not None else 0.0 for _, family, _ in named]),
        between=between,
        constant=constant,
        touched=tuple(np.flatnonzero(row) for row in slopes),
    )


def _factors(named: Named, surfaces: tuple[Surface | None, ...], rows: dict[str, LayerTime]) -> Floats:
    """What each layer takes in the network over what it takes alone; 1 where the network was not profiled."""
    found = []
    for (name, _, _), table in zip(named, surfaces, strict=True):
        row = rows.get(name)
        if table is None or row is None or row.shape is None:
            found.append(1.0)
        else:
            alone = table.at(np.array([float(row.shape.inputs)]), np.array([float(row.shape.outputs)]))
            found.append(row.ms / float(alone[0]))
    return np.array(found)


def _rest(profile: Profile | None, rows: dict[str, LayerTime], named: Named) -> tuple[float, float]:
    """What lies between layers: milliseconds per element that they put out, and what no cut shortens."""
    if profile is None:
        return 0.0, 0.0
    layer_names = {name for name, _, _ in named}
    other = sum(row.ms for row in rows.values() if row.name not in layer_names and row.name != BETWEEN)
    elements = sum(row.shape.outputs * row.shape.family.reuse for row in rows.values() if row.shape is not None)
    constant = rows[BETWEEN].ms if BETWEEN in rows else 0.0
    return other / max(elements, 1), constant


def _is_of(profile: Profile, named: Named) -> bool:
    """Whether a profile is of the network, cut or whole: the same layers, of the same whole widths."""
    rows = {row.name: row.shape for row in profile.layers or () if row.shape is not None}
    for name, family, widths in named:
        if family is not None:
            shape = rows.get(name)
            if shape is None or shape.family != family or (shape.whole_inputs, shape.whole_outputs) != widths:
                return False
    return bool(rows)


def _words(table: LayerCosts, profile: Profile | None, covered: int, every: int) -> str:
    threads = "1 thread" if table.threads == 1 else f"{table.threads} threads"
    some = "" if covered == every else f", {every - covered} of {every} layers by their multiply-adds"
    scale = (
        f", scaled to {profile.name} ({profile.date})"
        if profile is not None
        else ", layers alone, without what lies between them"
    )
    return f"a measured table of layers on {table.processor}, {threads} ({table.date}){some}{scale}"
