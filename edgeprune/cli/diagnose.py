"""`edgeprune diagnose`: where INT8 loses accuracy, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import ask, show


def diagnose(
    run: Annotated[Path, typer.Argument(help="A run directory that prune or compress began.", show_default=False)],
    json: ask.Json = False,
) -> None:
    """Rank layers by what their INT8 alone does to the outputs; measure what leaving the worst in float gains."""
    from rich.console import Console

    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.compress import diagnose as look
    from edgeprune.pipeline.folder import recipe_of
    from edgeprune.pipeline.precision import read_diagnosis
    from edgeprune.report.diagnosis import table

    show.quiet()
    with bar() as tick:
        found = read_diagnosis(look(recipe_of(run), run, tick))
    if json:
        import json as text

        typer.echo(text.dumps({"schema": 1, "run": str(run), **found}, indent=2))
    else:
        Console().print(table(found, str(run)), highlight=False)
