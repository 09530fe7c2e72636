"""Comparisons as text: terminal tables of at most 80 columns, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeprune.report import figures
from edgeprune.report.compare import Comparison, Row

HEADINGS = ("", "accuracy %", "MACs", "params", "file", "p50 ms", "speed-up", "INT8 %")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's figures as text, in the order of HEADINGS."""
    return (
        row.label,
        figures.accuracy(row.accuracy, row.accuracy_se),
        figures.counted(row.macs),
        figures.counted(row.params),
        figures.sized(row.onnx_bytes),
        figures.milliseconds(row.latency_ms_p50),
        figures.times(row.speed_up),
        figures.percent(row.int8_macs_share),
    )


def table(comparison: Comparison) -> RenderableType:
    """Return a comparison for a rich console."""
    # Text, not str: a file name with [brackets] is no markup.
    drawn = Table(box=box.SIMPLE_HEAD, title=Text(comparison.title, style="bold"), title_justify="left", pad_edge=False)
    drawn.add_column(HEADINGS[0], overflow="fold")
    for heading in HEADINGS[1:]:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.rows:
        drawn.add_row(*(Text(cell) for cell in cells(row)))
    notes = (Text(f"* {note}") for note in comparison.notes)
    return Group(drawn, *notes, *(Text(line, no_wrap=True) for line in comparison.plot))


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as Markdown sections."""
    return "\n".join(_markdown_section(comparison) for comparison in comparisons)


def to_json(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as one JSON document."""
    document = {"schema": 1, "comparisons": [item.model_dump(mode="json") for item in comparisons]}
    return json.dumps(document, indent=2)


def _markdown_section(comparison: Comparison) -> str:
    headings = ("network", *HEADINGS[1:])
    lines = [f"## {_escaped(comparison.title)}", "", _markdown_row(headings)]
    lines.append("|" + "|".join([" --- "] + [" ---: "] * (len(headings) - 1)) + "|")
    lines += [_markdown_row(cells(row)) for row in comparison.rows]
    lines += [""] + [f"- {_escaped(note)}" for note in comparison.notes]
    plot = ["", "```text", *comparison.plot, "```"] if comparison.plot else []
    return "\n".join([*lines, *plot]).rstrip() + "\n"


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(text) for text in texts) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
