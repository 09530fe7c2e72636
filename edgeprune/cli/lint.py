"""`edgeprune lint`: which layers of an ONNX file a target runs in INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import ask, show


def lint(
    file: Annotated[Path, typer.Argument(help="An ONNX file, of whatever tool.", show_default=False)],
    target: Annotated[
        str | None,
        typer.Option(help="Name or .toml file. [default: this machine's CPU]", metavar="NAME", show_default=False),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Of the input with its batch, where the file leaves it open.",
            metavar="1x3x224x224",
            show_default=False,
        ),
    ] = None,
    json: ask.Json = False,
) -> None:
    """Say per layer whether the target's runtime runs it in INT8, and if not, why; exit code 1 if a layer could be mended.

    An ONNX Runtime target is asked itself where this machine has its architecture; else its rules are applied.
    """  # noqa: E501
    from edgeprune.errors import EdgepruneError
    from edgeprune.measure.match import host_target
    from edgeprune.spec.target import load_target

    device = load_target(target or host_target())  # before onnx: a typo should fail at once
    try:
        sides = None if shape is None else tuple(int(side) for side in shape.split("x"))
    except ValueError:
        raise EdgepruneError(f"--shape {shape!r}: not sides joined by x. Try 1x3x224x224.") from None
    if sides is not None and min(sides) < 1:
        raise EdgepruneError(f"--shape {shape!r}: a side is below 1. Try 1x3x224x224.")
    show.quiet()
    from edgeprune.linting.lint import lint as judge

    found = judge(file, device, sides)
    from rich.console import Console

    from edgeprune.report.lint import table, to_json

    if json:
        typer.echo(to_json(found))
    else:
        Console().print(table(found), highlight=False)
    if not found.clean:
        raise typer.Exit(1)
