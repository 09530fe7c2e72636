"""A diagnosis as a terminal table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SHOWN = 20
"""Layers; --json has all."""


def table(found: Mapping[str, Any], title: str) -> RenderableType:
    """`found`: `int8` and `float`, validation accuracies of `count` images, and `layers`, the worst first."""
    drop = 100 * (found["float"] - found["int8"])
    error = 100 * (found["float"] * (1 - found["float"]) / found["count"]) ** 0.5
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("layer", overflow="fold")
    for heading in ("alone dB", "cosine", "here dB", "in float: points"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    layers = found["layers"]
    for row in layers[:SHOWN]:
        gained = "" if row["gained"] is None else f"{100 * row['gained']:+.2f}"
        alone, here = row["alone"], row["here"]
        drawn.add_row(
            Text(row["unit"]), f"{alone['sqnr_db']:.1f}", f"{alone['cosine']:.4f}", f"{here['sqnr_db']:.1f}", gained
        )
    if len(layers) > SHOWN:
        drawn.add_row(Text(f"and {len(layers) - SHOWN} more"), "", "", "", "")
    lines = (
        f"float {100 * found['float']:.2f} %, INT8 {100 * found['int8']:.2f} %: a drop of {drop:.2f} points on "
        f"{found['count']} validation images (± {error:.2f})",
        "alone: signal to noise at the outputs with this layer alone in INT8; here: at the layer, all in INT8",
    )
    return Group(Text(title, style="bold"), Text(lines[0]), drawn, Text(f"* {lines[1]}"))
