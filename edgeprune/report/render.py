"""Comparisons and profiles as text: terminal tables of at most 80 columns, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeprune.report import figures
from edgeprune.report.compare import Comparison, Row
from edgeprune.spec.profile import Profile

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


def profile_table(profile: Profile) -> RenderableType:
    """Return one profile for a rich console."""
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, text in profile_lines(profile):
        drawn.add_row(name, Text(text))
    return Padding(drawn, (0, 0, 1, 0))


def profile_lines(profile: Profile) -> list[tuple[str, str]]:
    """Return a profile's figures as pairs of a name and a text."""
    latency, machine, golden = profile.latency_ms, profile.machine, profile.golden
    state = "" if machine.mismatch is None else f"; not the target: {machine.mismatch}"
    settled = f"after {latency.warm_up} to warm up" + ("" if latency.settled else ", which did not settle")
    p99 = "p99 not given below 500 calls" if latency.p99 is None else _percentile("p99", latency.p99, latency.p99_ci)
    return [
        ("bundle", f"{profile.name} for {profile.target}, {profile.precision}, {profile.runtime}"),
        ("machine", f"{machine.processor}, {machine.cores} cores, {machine.threads} threads{state}"),
        (
            "answers",
            f"{golden.checked} checked, worst relative error {golden.worst:.2g} "
            f"({golden.tolerance:.2g} allowed), {golden.same_class} of {golden.checked} with the same class",
        ),
        (
            "latency",
            "\n".join(
                [
                    _percentile("p50", latency.p50, latency.p50_ci),
                    _percentile("p90", latency.p90, latency.p90_ci),
                    p99,
                    f"{latency.count} calls of {latency.batch}, {settled}",
                ]
            ),
        ),
        ("throughput", f"{latency.throughput_per_s:.0f} images/s"),
        (
            "memory",
            f"{figures.sized(profile.memory.peak_resident_bytes)} at the peak, "
            f"{figures.sized(profile.memory.added_resident_bytes)} of it added by the model "
            f"({figures.sized(profile.memory.model_bytes)} file)",
        ),
        ("power", _power(profile)),
    ]


def _percentile(name: str, value: float, interval: tuple[float, float] | None) -> str:
    doubt = "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{name} {value:.3f} ms{doubt}"


def _power(profile: Profile) -> str:
    power = profile.power
    if not power.measured or power.mean_w is None:
        return f"not measured: {power.reason}"
    energy = power.energy_per_inference_mj
    return f"{power.mean_w:.1f} W" + ("" if energy is None else f", {energy:.2f} mJ per image")


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
