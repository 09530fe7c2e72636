"""What layers of a shape take on this machine, at several widths: the table behind a budget in milliseconds.

Each is timed alone, by the runtime's own profiler, as the rows of a profile are. Alone, a layer finds its weights in
the cache, which in a network it may not: a budget takes from here how a layer's time changes with its widths, and
from a profile of the network what it takes there.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune import __version__
from edgeprune.engine.runner import RUNTIMES, RuntimeName
from edgeprune.engine.single_layer import NAME, Dialect, single_layer
from edgeprune.errors import EdgepruneError
from edgeprune.measure.probe import Host
from edgeprune.progress import Tick, silent
from edgeprune.spec.layer_costs import Family, Grid, LayerCosts, LayerShape

ROUNDS, CALLS = 3, 10
OUTPUTS = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
INPUTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
OFF = 5 / 8
"""Where on each axis a width stands that is no multiple."""
BLOCKS = 2
"""A table's multiple over the target's: kernels often work in blocks twice as wide as what widths are cut to."""


@dataclass(frozen=True)
class Bench:
    """How layers are run."""

    target: str
    precision: str
    dialect: Dialect
    runtime: RuntimeName
    threads: int | None
    exact: bool
    multiple: int
    """Of widths; the table tells what half of one on top costs."""


@dataclass(frozen=True)
class Axes:
    family: Family
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def pairs(self) -> Iterator[tuple[int, int]]:
        for inputs in self.inputs:
            for outputs in self.outputs:
                yield inputs, outputs


def axes_of(shapes: Sequence[LayerShape], multiple: int) -> list[Axes]:
    """The grid of every family of layers, up to the widest of it.

    An axis along which none of the family's layers can change (an image's three channels) has that one width.
    """
    families = dict.fromkeys(shape.family for shape in shapes)
    found = []
    for family in families:
        mine = [shape for shape in shapes if shape.family == family]
        inputs = {shape.whole_inputs for shape in mine}
        outputs = {shape.whole_outputs for shape in mine}
        single = family.op == "depthwise" or max(inputs) <= multiple // 2
        found.append(
            Axes(
                family,
                tuple(sorted(inputs)) if single else widths(inputs, INPUTS, multiple),
                widths(outputs, OUTPUTS, multiple),
            )
        )
    return found


def widths(whole: set[int], shares: Sequence[float], multiple: int) -> tuple[int, ...]:
    """Shares of the widest in multiples, half a multiple, one width between multiples, and every whole width."""
    most = max(whole)
    on = {multiple * round(share * most / multiple) for share in shares}
    between = multiple * round(OFF * most / multiple) - multiple // 2
    return tuple(sorted(width for width in {*on, *whole, multiple // 2, between} if 1 <= width <= most))


def measure_layers(shapes: Sequence[LayerShape], bench: Bench, host: Host, tick: Tick = silent) -> LayerCosts:
    """Time the grids, round after round over all of them, and keep the least of each shape.

    Raises:
        EdgepruneError: there is no layer to time, or the runtime has no profiler.
    """
    axes = axes_of(shapes, bench.multiple)
    if not axes:
        raise EdgepruneError("there are no layers to time. Leave --layers out.")
    cells = [(each.family, *pair) for each in axes for pair in each.pairs()]
    least: dict[tuple[Family, int, int], float] = {}
    words = ""
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for done, cell in enumerate(cells):
                tick(f"timing layers, round {turn + 1} of {ROUNDS}", done, len(cells))
                ms, words = _time(cell, bench, Path(folder) / "layer.onnx")
                least[cell] = min(ms, least.get(cell, ms))
        tick(f"timing layers, round {ROUNDS} of {ROUNDS}", len(cells), len(cells))
    runtime, threads = words.rsplit("|", 1)
    return LayerCosts(
        target=bench.target,
        device=host.device,
        processor=host.processor,
        precision=bench.precision,
        runtime=runtime,
        threads=int(threads),
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgeprune_version=__version__,
        multiple=bench.multiple,
        rounds=ROUNDS,
        grids=tuple(_grid(each, least) for each in axes),
    )


def _time(cell: tuple[Family, int, int], bench: Bench, path: Path) -> tuple[float, str]:
    """Least milliseconds of one layer, and what ran it."""
    content, shape = single_layer(*cell, bench.dialect)
    path.write_bytes(content)
    runner = RUNTIMES[bench.runtime].open(path, bench.threads, bench.exact)
    x: NDArray[np.float32] = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    times = runner.layer_times(x, CALLS)
    mine = [row.ms for row in times or () if NAME in re.split(r"\W+", row.name)]
    if not mine:
        raise EdgepruneError(f"{runner.runtime} tells no time of single layers, so there is no table of them.")
    # The profiler counts in whole microseconds.
    return max(mine[0], 5e-4), f"{runner.runtime}|{runner.threads}"


def _grid(axes: Axes, least: dict[tuple[Family, int, int], float]) -> Grid:
    rows = tuple(tuple(round(least[axes.family, i, o], 5) for o in axes.outputs) for i in axes.inputs)
    return Grid(family=axes.family, inputs=axes.inputs, outputs=axes.outputs, ms=rows)
