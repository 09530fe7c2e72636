"""How commands show what they found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edgeprune.curvature.curvature import Curvature
    from edgeprune.pipeline.compress import Outcome
    from edgeprune.spec.result import Result


def quiet() -> None:
    """Keep the libraries' own warnings and logs off the terminal: what the user can mend, we say."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)


def tell(line: str) -> None:
    """Say on stderr what the user must know before the work goes on."""
    typer.echo(f"edgeprune: {line}.", err=True)


def show(result: Result | None, folder: Path, json: bool) -> None:
    """Print a finished run: the summary table, or the result as JSON."""
    from rich.console import Console

    from edgeprune.report.compare import compare_result
    from edgeprune.report.render import table

    assert result is not None, "only a finished chain is shown"
    if json:
        typer.echo(result.model_dump_json(by_alias=True, indent=2))
    else:
        Console().print(table(compare_result(result)), highlight=False)
    typer.echo(f"bundle: {folder / 'bundle'}", err=True)


def show_stages(outcome: Outcome, folder: Path, json: bool) -> None:
    """Print which stages are done, with their seconds and validation accuracy, and what --max-drop tried."""
    import json as text

    rows: list[dict[str, Any]] = []
    for stage in outcome.stages:
        history = stage.path / "history.json"
        best = None
        if history.is_file():
            best = max(row["val_accuracy"] for row in text.loads(history.read_text(encoding="utf-8")))
        rows.append({"stage": stage.name, "seconds": stage.seconds, "val_accuracy": best, "path": str(stage.path)})
    if json:
        searched = {} if outcome.search is None else {"search": outcome.search.model_dump()}
        typer.echo(text.dumps({"run": str(folder), "stages": rows, **searched}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from edgeprune.report.search import trial_lines

    table = Table("stage", "seconds", "validation accuracy", title=str(folder))
    for row in rows:
        shown = "" if row["val_accuracy"] is None else f"{100 * row['val_accuracy']:.2f} %"
        table.add_row(row["stage"], f"{row['seconds']:.1f}", shown)
    Console().print(table, highlight=False)
    for line in trial_lines(outcome.search) if outcome.search is not None else ():
        typer.echo(line)


def check_folder(file: Path) -> None:
    """Refuse a file that cannot be written before hours are spent on what goes into it.

    Raises:
        EdgepruneError: its folder is none, or is not to be written.
    """
    import os

    from edgeprune.errors import EdgepruneError

    folder = file.resolve().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise EdgepruneError(f"{file}: cannot be written. Choose another file with -o, in a folder that is there.")


def show_curvature(found: Curvature, file: Path, json: bool) -> None:
    """Print the traces of layers with their standard errors, and what they took."""
    import json as text

    layers = {name: found.layer(name) for name in found.per_probe}
    total, effort = found.total(), found.effort
    assert effort is not None
    if json:
        rows = {n: {"trace": float(e.value), "standard_error": float(e.standard_error)} for n, e in layers.items()}
        document = {
            "file": str(file),
            "images": found.images,
            "probes": found.probes,
            "trace": float(total.value),
            "standard_error": float(total.standard_error),
            "layers": rows,
            "effort": vars(effort),
        }
        typer.echo(text.dumps(document, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    title = f"{found.probes} probes on {found.images} images, {effort.seconds:.1f} s"
    table = Table("layer", "trace", "± standard error", title=title, title_justify="left")
    for name, estimate in (*layers.items(), ("all", total)):
        table.add_row(name.removesuffix(".weight"), f"{estimate.value:.4g}", f"{estimate.standard_error:.2g}")
    Console().print(table, highlight=False)
    if effort.overflows or effort.underflows:
        typer.echo(f"half precision: {effort.overflows} products computed again after an overflow, none lost", err=True)
    typer.echo(f"curvature: {file}", err=True)
