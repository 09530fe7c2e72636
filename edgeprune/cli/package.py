"""`edgeprune package`: from a run to what an application takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeprune.packaging.forms import RawPixels


def package(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory, or a bundle folder.", show_default=False)
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="cpp|python|triton|deepstream",
            help="For what. [default: the bundle alone]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder, or archive if it ends in .tar.gz. [default: NAME-FORM]",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Images that a server or plan takes at the most.")] = 8,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign with this key of ssh-keygen.", show_default=False)
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(metavar="ALLOWED_SIGNERS", help="Refuse a bundle that none of these signed.", show_default=False),
    ] = None,
) -> None:
    """Package a bundle for C++, Python, Triton or DeepStream; sign it, pack it."""
    from edgeprune.packaging.check import trusted_bundle
    from edgeprune.packaging.contents import kind_of, plain_name
    from edgeprune.packaging.forms import Order
    from edgeprune.packaging.write import package_bundle

    kind = kind_of(form)
    bundle, _ = trusted_bundle(source / "bundle" if (source / "bundle").is_dir() else source, verify)
    raw_pixels: RawPixels | None = None
    if kind == "deepstream":
        from edgeprune.exporting.raw_pixels import with_raw_pixels

        raw_pixels = with_raw_pixels
    place = output or Path(f"{plain_name(bundle.manifest.name)}-{kind}")
    written = package_bundle(Order(bundle, batch, raw_pixels), kind, place, sign)
    typer.echo(f"written to {written}")
    if sign is None:
        typer.echo("not signed: --sign KEY lets others check who made it", err=True)
