"""`edgeprune export`: ONNX files, figures and the bundle, from a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import ask, show


def export(
    run: Annotated[Path, typer.Argument(help="A run directory that prune began.", show_default=False)],
    json: ask.Json = False,
) -> None:
    """Export, check, judge on the test set, and package: the rest of the chain."""
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.compress import compress as go_on
    from edgeprune.pipeline.folder import recipe_of

    show.quiet()
    with bar() as tick:
        outcome = go_on(recipe_of(run), run, tick)
    show.show(outcome.result, run, json)
