"""A table of layer shapes in a line: how much of it there is, and what widths between multiples cost."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.spec.layer_costs import Grid, LayerCosts


def off_multiple_line(costs: LayerCosts) -> str:
    """Return the number of shapes, and the middle of what widths that are no multiple take over the next multiple."""
    count = sum(len(grid.inputs) * len(grid.outputs) for grid in costs.grids)
    line = f"{count} shapes of {len(costs.grids)} kinds"
    ratios = sorted(ratio for grid in costs.grids for ratio in _ratios(grid, costs.multiple))
    if not ratios:
        return line
    middle = ratios[len(ratios) // 2]
    return f"{line}; outputs off the multiple of {costs.multiple} take {middle:.2f} of the time of the next"


def _ratios(grid: Grid, multiple: int) -> Iterator[float]:
    places = {width: place for place, width in enumerate(grid.outputs)}
    for width, place in places.items():
        up = -(-width // multiple) * multiple
        if width % multiple and width > multiple and up in places:
            yield from (row[place] / row[places[up]] for row in grid.ms)
