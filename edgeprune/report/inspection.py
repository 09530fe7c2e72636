"""An inspection as terminal tables of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeprune.report.figures import NONE, counted, percent
from edgeprune.spec.inspection import Inspection

UNITS = {"size_mb": "MB of weights", "memory_mb": "MB of activations", "latency_ms": "ms"}
NAMED = 3
"""Names shown of a long list; --json has all."""


def to_json(found: Inspection) -> str:
    return json.dumps({"schema": 1, **asdict(found)}, indent=2)


def tables(found: Inspection) -> RenderableType:
    """Return what there is to say, the groups, the layers, and what is frozen."""
    parts: list[RenderableType] = [Text(f"{found.model}, {_shape(found.input_shape)}", style="bold"), *_summary(found)]
    parts.append(_groups(found))
    parts.append(_layers(found))
    for title, reasons in (("never cut", found.frozen), ("cut, but a statistic changes", found.approximate)):
        if reasons:
            parts.append(_reasons(title, reasons))
    return Group(*parts)


def _summary(found: Inspection) -> list[Text]:
    multiple = f"in multiples of {found.channel_multiple}"
    sizes = [
        f"{found.whole[name]:.3g} {unit}, {found.smallest[name]:.3g} at the least"
        for name, unit in UNITS.items()
        if name in found.whole
    ]
    lines = [
        f"{counted(found.macs)} multiply-adds, {percent(found.macs_in_groups)} % of them at channels that can go",
        f"{counted(found.params)} parameters, {percent(found.params_in_groups)} %",
        f"the least that can be reached, {multiple}: --macs {_up(found.smallest['macs'])}, "
        f"--params {_up(found.smallest['params'])}, --sparsity {found.smallest['sparsity']:.3f} at the most",
        f"in INT8: {'; '.join(sizes)}",
    ]
    if found.latency_from is not None:
        lines.append(f"milliseconds on {found.target}: {found.latency_from}")
    return [Text(line) for line in lines]


def _groups(found: Inspection) -> RenderableType:
    drawn = _table(f"{len(found.groups)} groups of channels that go together")
    drawn.add_column("group", overflow="fold")
    for heading in ("units", "width", "least"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("layers whose outputs they are", overflow="fold")
    for group in found.groups:
        counts = (str(group.units), str(group.width), str(group.narrowest))
        drawn.add_row(Text(group.name), *counts, Text(_some(group.layers)))
    return drawn


def _layers(found: Inspection) -> RenderableType:
    drawn = _table(f"{len(found.layers)} layers with weights")
    drawn.add_column("layer", overflow="fold")
    drawn.add_column("kind", no_wrap=True)
    for heading in ("weight", "MACs", "params"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("group", overflow="fold")
    for layer in found.layers:
        costs = (_shape(layer.shape), counted(layer.macs), counted(layer.params))
        drawn.add_row(Text(layer.name), layer.kind, *costs, Text(layer.group or NONE))
    if found.other_macs or found.other_params:
        drawn.add_row("all else", "", "", counted(found.other_macs), counted(found.other_params), "")
    return drawn


def _reasons(title: str, reasons: Mapping[str, str]) -> RenderableType:
    places: dict[str, list[str]] = {}
    for place, why in reasons.items():
        places.setdefault(why, []).append(place)
    drawn = _table(title)
    drawn.add_column("why", overflow="fold")
    drawn.add_column("where", overflow="fold")
    for why, names in places.items():
        drawn.add_row(Text(why), Text(_some(tuple(names))))
    return drawn


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=Text(title, style="bold"), title_justify="left", pad_edge=False)


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _up(share: float) -> str:
    """A share that can be asked for: the last digit rounded up."""
    return f"{-(-share * 1000 // 1) / 1000:.3f}"
