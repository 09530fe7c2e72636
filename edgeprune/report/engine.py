"""What is known of an engine, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from edgeprune.spec.engine import EngineLayer, EngineReport, QueryTimes, Spread

ROWS = 40
"""Layers that are listed; the rest is one row. `--json` has them all."""


def engine_tables(report: EngineReport) -> RenderableType:
    """Times, then layers by the time that they take, then what to know."""
    shown: list[RenderableType] = [_times(report), _layers(report), *(Text(line) for line in _lines(report))]
    return Group(*shown)


def _times(report: EngineReport) -> Table:
    title = f"{report.device}, TensorRT {report.tensorrt}, {report.times.batch} image(s) per call"
    table = Table(
        "ms", *(column.replace("_", " ") for column in Spread.model_fields), title=title, title_justify="left"
    )
    rows = [("", report.times)] + ([("trtexec: ", report.trtexec)] if report.trtexec is not None else [])
    for prefix, times in rows:
        for name, spread in _spreads(times):
            table.add_row(prefix + name, *(f"{value:.3f}" for value in spread.model_dump().values()))
    return table


def _spreads(times: QueryTimes) -> list[tuple[str, Spread]]:
    return [
        ("latency", times.latency_ms),
        ("copy in", times.copy_in_ms),
        ("compute", times.compute_ms),
        ("copy out", times.copy_out_ms),
        ("enqueue", times.enqueue_ms),
    ]


def _layers(report: EngineReport) -> Table:
    title = f"{len(report.layers)} layers, {sum(layer.reformat for layer in report.layers)} of them reformats"
    layer_column = Column("layer", overflow="fold")
    table = Table(layer_column, "kind", "precision", "2:4", "ms", "%", "kernel", title=title, title_justify="left")
    total = sum(layer.ms or 0.0 for layer in report.layers) + report.other_ms
    ordered = sorted(report.layers, key=lambda layer: -(layer.ms or 0.0))
    for layer in ordered[:ROWS]:
        kind = "reformat" if layer.reformat else layer.kind
        table.add_row(
            layer.layer, kind, layer.precision, sparsity_words(layer), *_share(layer.ms, total), layer.tactic[:40]
        )
    rest = sum(layer.ms or 0.0 for layer in ordered[ROWS:])
    if ordered[ROWS:]:
        table.add_row(f"{len(ordered) - ROWS} more", "", "", "", *_share(rest, total), "")
    if report.other_ms:
        table.add_row("other", "", "", "", *_share(report.other_ms, total), "")
    return table


def sparsity_words(layer: EngineLayer) -> str:
    """Whether a layer's weights are 2:4, and whether that is used."""
    if layer.sparse:
        return "used"
    return "not picked" if layer.eligible else ""


def _share(ms: float | None, total: float) -> Sequence[str]:
    if ms is None or not total:
        return ("", "")
    return (f"{ms:.4f}", f"{100 * ms / total:.1f}")


def _lines(report: EngineReport) -> list[str]:
    lines = []
    if report.int8_time_share is not None:
        lines.append(f"{100 * report.int8_time_share:.1f} % of the layers' time is in INT8.")
    if report.streams_throughput_per_s is not None:
        lines.append(f"{report.streams_throughput_per_s:.1f} images per second on {report.streams} streams.")
    if report.times.enqueue_bound:
        graph = "" if report.times.cuda_graph else "a CUDA graph or "
        lines.append(f"The GPU waits for the CPU: compute times say more than latencies, and {graph}a larger batch "
                     "gains more than a smaller network.")  # fmt: skip
    if report.times.unstable:
        lines.append("Compute times vary by more than 2.5 %: lock the clocks, and end what else runs.")
    if any(layer.eligible for layer in report.layers) and not any(layer.sparse for layer in report.layers):
        lines.append("Weights are 2:4, but TensorRT found no sparse kernel that is faster.")
    worst, tolerance = report.golden_worst, report.golden_tolerance
    lines.append(f"Golden outputs: worst relative error {worst:.2g}, and {tolerance:.2g} is allowed.")
    lines.append(f"{report.plan} ({report.plan_bytes / 1e6:.1f} MB, built in {report.build_seconds:.0f} s)")
    return lines
