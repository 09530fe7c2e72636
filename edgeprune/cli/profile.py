"""`edgeprune profile`: check a bundle's answers on this machine, then measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.verify import Signers


def profile(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, as RUN/bundle.", show_default=False)],
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to time calls, after the warm-up.")] = 3.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: one per physical core.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per call.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    signers: Signers = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the profile. Default: profiles/ beside the bundle."),
    ] = None,
) -> None:
    """Check a bundle's golden outputs on this machine, then measure latency and memory."""
    from rich.console import Console

    from edgeprune.cli.bar import bar
    from edgeprune.measure.profile import profile_bundle, write_profile
    from edgeprune.report.render import profile_table

    if signers is not None:
        from edgeprune.packaging.check import trusted_bundle

        trusted_bundle(bundle, signers)
    with bar() as tick:
        measured = profile_bundle(bundle, seconds, threads, batch, tick)
    if json:
        typer.echo(measured.model_dump_json(by_alias=True, indent=2))
    else:
        Console().print(profile_table(measured), highlight=False)
    # Written last: a folder that cannot be written to should not cost the user the measurement.
    written = write_profile(measured, output or bundle.resolve().parent / "profiles")
    typer.echo(f"written to {written}", err=True)
