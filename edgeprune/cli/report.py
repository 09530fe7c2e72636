"""`edgeprune report`: lay results and profiles side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    paths: Annotated[list[Path], typer.Argument(help="RUN folders or profile files.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on stdout.")] = False,
) -> None:
    """Compare the networks of a run, or profiles, in a table."""
    from rich.console import Console

    from edgeprune.errors import EdgepruneError
    from edgeprune.report import render
    from edgeprune.report.compare import read_comparisons

    if json and markdown:
        raise EdgepruneError("--json and --markdown exclude each other. Choose one.")
    comparisons = read_comparisons(paths)
    if json:
        typer.echo(render.to_json(comparisons))
    elif markdown:
        typer.echo(render.markdown(comparisons), nl=False)
    else:
        for comparison in comparisons:
            Console().print(render.table(comparison), highlight=False)
