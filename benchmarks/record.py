"""What every benchmark writes: machine, versions, date, rows, and the lines that it can decide."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 180
"""Of a table that goes into a file."""
PACKAGES = ("edgeprune", "torch", "onnx", "onnxruntime", "numpy")
PEERS = (
    "timm", "torchvision", "transformers", "torch-pruning", "pyhessian", "stable-baselines3", "gymnasium", "ray",
)  # fmt: skip


@dataclass(frozen=True)
class Show:
    """A claim and the figure that decides it. `bar` is as the claim words it."""

    topic: str
    line: int
    figure: Any
    bar: str
    holds: bool


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="at most 10 minutes on 2 cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    return parser


def finish(title: str, rows: Sequence[dict[str, Any]], shows: Sequence[Show], file: Path | None) -> None:
    """Print the rows as a table and the claims below it; write the record; exit 1 where a claim does not hold.

    Values that are dictionaries or lists are for the record alone.
    """
    told = [{name: value for name, value in row.items() if not isinstance(value, (dict, list))} for row in rows]
    columns = list(dict.fromkeys(name for row in told for name in row))
    table = Table(*columns, title=title)
    for row in told:
        table.add_row(*(_text(row.get(name)) for name in columns))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table, highlight=False)
    for show in shows:
        verdict = "holds" if show.holds else "DOES NOT HOLD"
        console.print(f"{show.topic} {show.line}: {_text(show.figure)} against {show.bar}: {verdict}", highlight=False)
    if file is not None:
        save(title, rows, shows, file)
    sys.exit(0 if all(show.holds for show in shows) else 1)


def save(title: str, rows: Sequence[dict[str, Any]], shows: Sequence[Show], file: Path) -> None:
    """Write the record, whole or not at all; a long benchmark does so after each part."""
    record = {
        "title": title,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: _version(name) for name in (*PACKAGES, *PEERS)} | {"python": platform.python_version()},
        "rows": list(rows),
        "shows": [asdict(show) for show in shows],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, file)


def known_rows(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the record that a long benchmark goes on from; none of a quick run."""
    if asked.quick or asked.json is None or not asked.json.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(asked.json.read_text(encoding="utf-8"))["rows"]
    return rows


def machine() -> dict[str, Any]:
    """Describe the machine that a figure belongs to."""
    from edgeprune.measure.probe import probe

    host = probe()
    return {
        "device": host.device,
        "processor": host.processor,
        "cores": host.cores,
        "memory_bytes": host.memory_bytes,
        "flags": list(host.flags),
        "gpus": list(host.gpus),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
