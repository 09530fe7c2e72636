"""`edgeprune quantize`: the network trained in INT8, from a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import ask, show


def quantize(
    run: Annotated[Path, typer.Argument(help="A run directory that prune began.", show_default=False)],
    json: ask.Json = False,
) -> None:
    """Fold BatchNorm, insert quantizers as the target wants them, and train with them in."""
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.compress import quantize as go_on
    from edgeprune.pipeline.folder import recipe_of

    show.quiet()
    with bar() as tick:
        outcome = go_on(recipe_of(run), run, tick)
    show.show_stages(outcome, run, json)
