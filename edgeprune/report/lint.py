"""A lint as terminal tables of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeprune.report.figures import counted, percent
from edgeprune.spec.lint import Lint

NAMED = 20
"""Layers in float that are shown one by one; --json has all."""


def to_json(found: Lint) -> str:
    return json.dumps({"schema": 1, **asdict(found), "share": found.share, "clean": found.clean}, indent=2)


def table(found: Lint) -> RenderableType:
    """Return the share, the layers in float with their reasons, and what holds for the whole file."""
    inside = sum(verdict.int8 for verdict in found.verdicts)
    counts = all(verdict.macs is not None for verdict in found.verdicts)
    what = "multiply-adds" if counts else "layers"
    parts: list[RenderableType] = [
        Text(f"{found.file} for {found.target}", style="bold"),
        Text(
            f"{percent(found.share)} % of the {what} in INT8: {inside} of {len(found.verdicts)} layers and products, "
            f"by {found.read_from}"
        ),
    ]
    floats = [verdict for verdict in found.verdicts if not verdict.int8]
    floats.sort(key=lambda verdict: -(verdict.macs or 0))
    if floats:
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        drawn.add_column("in float", overflow="fold")
        drawn.add_column("MACs", justify="right", no_wrap=True)
        drawn.add_column("why", overflow="fold")
        for verdict in floats[:NAMED]:
            macs = "" if verdict.macs is None else counted(verdict.macs)
            drawn.add_row(Text(f"{verdict.layer} ({verdict.operator})"), Text(macs), Text(verdict.why))
        if len(floats) > NAMED:
            drawn.add_row(Text(f"and {len(floats) - NAMED} more"), Text(""), Text("see --json"))
        parts.append(drawn)
    parts += [Text(f"fault: {line}") for line in _grouped(found.faults)]
    parts += [Text(f"* {line}") for line in _grouped(found.notes)]
    return Group(*parts)


def _grouped(lines: Sequence[str]) -> list[str]:
    """Lines `NAME: WHAT`, those of one kind as one; figures in them are those of the first."""
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(re.sub(r"[\d.]+", "#", line.partition(": ")[2]) or line, []).append(line)
    return [
        same[0]
        if len(same) == 1
        else f"{same[0].partition(': ')[0]} and {len(same) - 1} more: {same[0].partition(': ')[2]}"
        for same in kinds.values()
    ]
