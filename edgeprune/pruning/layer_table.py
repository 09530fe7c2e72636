"""Milliseconds of one image from a measured table of layer shapes.

Each layer takes what the table says of its family at its widths, times what it took in the profiled network over what
the table says of it there (its neighbours decide what it finds in the cache). What lies between layers goes with the
elements that the layers put out. Layers of a kind that the table has not go by their multiply-adds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgeprune.pruning.quantity import Affine, Counts, Floats
from edgeprune.spec.layer_costs import Grid

LEAST, MOST = 0.5, 2.0
"""Between which the price of a width that is no multiple is believed."""


@dataclass(frozen=True)
class Axis:
    """Widths in ascending order; `multiple`: one in between goes up to the next, at `penalty` times the time."""

    widths: Floats
    multiple: int
    penalty: float

    def at(self, width: Floats) -> tuple[Floats, Floats, Floats]:
        """Where widths lie: lower index, share of the way to the next, and the factor for what lies outside."""
        whole = self.widths[-1]
        up = np.ceil(width / self.multiple - 1e-9) * self.multiple
        off = (np.abs(up - width) > 1e-9) & (width > self.multiple) & (width < whole)
        near = np.where(off, np.minimum(up, whole), width)
        inside = np.clip(near, self.widths[0], whole)
        low = np.clip(np.searchsorted(self.widths, inside, side="right") - 1, 0, max(len(self.widths) - 2, 0))
        if len(self.widths) == 1:
            share = np.zeros_like(inside)
        else:
            share = (inside - self.widths[low]) / (self.widths[low + 1] - self.widths[low])
        # Above the widest, time grows with the width; below the narrowest nothing more is saved.
        factor = np.where(off, self.penalty, 1.0) * np.maximum(near / whole, 1.0)
        return low.astype(np.float64), share, factor


@dataclass(frozen=True)
class Surface:
    """A family's milliseconds over its widths. `ms`: `[inputs, outputs]`.

    A narrower layer may take longer, as 8 channels do on registers of 16; a budget has to see that.
    """

    inputs: Axis
    outputs: Axis
    ms: Floats

    def at(self, inputs: Floats, outputs: Floats) -> Floats:
        """Milliseconds at widths, elementwise; bilinear between the measured ones."""
        (row, down, first), (column, along, second) = self.inputs.at(inputs), self.outputs.at(outputs)
        r, c = row.astype(np.int64), column.astype(np.int64)
        r2, c2 = np.minimum(r + 1, self.ms.shape[0] - 1), np.minimum(c + 1, self.ms.shape[1] - 1)
        upper = self.ms[r, c] * (1 - along) + self.ms[r, c2] * along
        lower = self.ms[r2, c] * (1 - along) + self.ms[r2, c2] * along
        found: Floats = (upper * (1 - down) + lower * down) * first * second
        return found


def surface(grid: Grid, multiple: int) -> Surface:
    """The surface over the grid's multiples; the widths between them say what those cost."""
    ms = np.array(grid.ms)
    rows, columns = (_on(np.array(axis), multiple) for axis in (grid.inputs, grid.outputs))
    inputs, outputs = np.array(grid.inputs, np.float64), np.array(grid.outputs, np.float64)
    return Surface(
        Axis(inputs[rows], multiple, _penalty(inputs, ms[:, columns].T, rows, multiple)),
        Axis(outputs[columns], multiple, _penalty(outputs, ms[rows], columns, multiple)),
        ms[np.ix_(rows, columns)],
    )


def _on(axis: Counts, multiple: int) -> Counts:
    """Indices of the multiples, of the widest, and of widths below the first multiple (an image's three)."""
    last = len(axis) - 1
    found = [i for i, width in enumerate(axis) if width % multiple == 0 or width < multiple or i == last]
    return np.array(found, dtype=np.int64)


def _penalty(axis: Floats, ms: Floats, on: Counts, multiple: int) -> float:
    """What a width between multiples takes over what the next multiple takes; `ms`: `[others, axis]`."""
    ratios = []
    for i, width in enumerate(axis):
        up = np.ceil(width / multiple) * multiple
        if i not in on and up <= axis[-1]:
            # Off widths stand next to a multiple that was measured too, or between two.
            next_up = np.array([np.interp(up, axis[on], row[on]) for row in ms])
            ratios.append(float(np.median(ms[:, i] / next_up)))
    return float(np.clip(np.median(ratios), LEAST, MOST)) if ratios else 1.0


@dataclass(frozen=True)
class Tabled:
    """Milliseconds as a quantity. `[layers]` throughout, in the order of `count.layers`.

    `surfaces`: None for layers that go by their multiply-adds, `ms_per_mac` each. `between`: ms per element put out.
    """

    surfaces: tuple[Surface | None, ...]
    inputs: Affine
    outputs: Affine
    factor: Floats
    macs: Floats
    """Per input and output channel, for layers without a surface."""
    ms_per_mac: float
    elements: Floats
    """Per output channel, of each layer's output."""
    between: float = 0.0
    constant: float = 0.0
    touched: tuple[Counts, ...] = field(default=())
    """The groups that change a layer's widths."""

    def at(self, kept: Counts) -> Floats:
        return np.array([self.layers(kept).sum() + self.constant])

    def layers(self, kept: Counts) -> Floats:
        """With each layer's share of what lies between."""
        inputs, outputs = self.inputs.at(kept), self.outputs.at(kept)
        each = [float(self._ms(i, inputs[i : i + 1], outputs[i : i + 1])[0]) for i in range(len(self.surfaces))]
        return np.array(each)

    def saved(self, kept: Counts, fewer: Counts) -> Floats:
        found = np.zeros(len(kept))
        inputs, outputs, now = self.inputs.at(kept), self.outputs.at(kept), self.layers(kept)
        for i, groups in enumerate(self.touched):
            if len(groups):
                less = fewer[groups]
                after = self._ms(
                    i,
                    inputs[i] - self.inputs.slope[i, groups] * less,
                    outputs[i] - self.outputs.slope[i, groups] * less,
                )
                found[groups] += now[i] - after
        return found[None]

    @property
    def separable(self) -> bool:
        return False

    @property
    def stepped(self) -> bool:
        return True

    def _ms(self, layer: int, inputs: Floats, outputs: Floats) -> Floats:
        table = self.surfaces[layer]
        if table is None:
            computed = self.macs[layer] * inputs * outputs * self.ms_per_mac
        else:
            computed = self.factor[layer] * table.at(inputs, outputs)
        found: Floats = computed + self.between * self.elements[layer] * outputs
        return found
