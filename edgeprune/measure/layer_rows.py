"""What a bundle's layers take: in its network, and alone at other widths."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.engine.ort_layers import NodeTime
from edgeprune.measure.layer_bench import BLOCKS, Bench, measure_layers
from edgeprune.measure.probe import Host
from edgeprune.measure.subject import Subject
from edgeprune.progress import Tick
from edgeprune.spec.bundle import Bundle
from edgeprune.spec.layer_costs import LayerCosts
from edgeprune.spec.profile import LayerTime
from edgeprune.spec.target import ALIASES, known_targets, load_target

CALLS = 50
"""The runtime's profiler writes every node of every call: enough for a least, small enough for its file."""
MULTIPLE = 8
"""Of widths, where the target is none of the shipped ones: that of most."""


def layer_rows(subject: Subject, batch: int, p50: float, tick: Tick) -> tuple[LayerTime, ...] | None:
    """The median call's milliseconds, shared out as the profiler's times are: the profiler itself slows every node."""
    tick("timing layers", 0, 1)
    times = subject.runner.layer_times(subject.input(batch), CALLS)
    tick("timing layers", 1, 1)
    if times is None:
        return None
    total = max(sum(row.ms for row in times), 1e-9)
    shared = [NodeTime(row.name, p50 / batch * row.ms / total, row.op, row.int8) for row in times]
    return tuple(_named(shared, subject.bundle))


def _named(times: Sequence[NodeTime], bundle: Bundle) -> list[LayerTime]:
    """The rows under the layers' names, with their shapes; one that fused what follows may go by that's name."""
    shapes = {shape.name: shape for shape in bundle.manifest.layers}
    rows = {row.name: row for row in times}
    owner = {name: name for name in shapes if name in rows}
    for name, shape in shapes.items():
        alias = next((alias for alias in shape.aliases if alias in rows and alias not in owner.values()), None)
        if name not in owner and alias is not None:
            owner[name] = alias
    layer = {row: name for name, row in owner.items()}
    return [
        LayerTime(
            name=layer.get(row.name, row.name),
            ms=row.ms,
            op=row.op or None,
            int8=row.int8,
            shape=shapes.get(layer.get(row.name, "")),
        )
        for row in times
    ]


def layer_costs(subject: Subject, host: Host, tick: Tick) -> LayerCosts:
    """Time the layers of the bundle's network, from an eighth of their whole widths on."""
    manifest = subject.bundle.manifest
    known = ALIASES.get(manifest.target, manifest.target) in known_targets()
    bench = Bench(
        target=manifest.target,
        precision=manifest.precision,
        dialect=manifest.lowering,  # type: ignore[arg-type] # one of the three
        runtime=subject.runtime,
        threads=subject.threads,
        exact=subject.exact,
        multiple=BLOCKS * (load_target(manifest.target).channel_multiple.value if known else MULTIPLE),
    )
    return measure_layers(manifest.layers, bench, host, tick)
