"""`edgeprune deploy`: put a bundle on devices over ssh, prove it there, and bring the profiles back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli.verify import Signers, insist


def deploy(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, as RUN/bundle.", show_default=False)],
    hosts: Annotated[
        list[str] | None,
        typer.Argument(help="USER@HOST, a name of your ssh configuration, or ssh://USER@HOST:PORT; several at once."),
    ] = None,
    profile: Annotated[bool, typer.Option(help="Measure it there, and bring the profile back.")] = True,
    data: Annotated[
        Path | None, typer.Option(help="Test images to send along: profile says the accuracy there.")
    ] = None,
    profile_options: Annotated[
        str, typer.Option(metavar="TEXT", help="For profile there, as '--seconds 10 --batch 4'.")
    ] = "",
    build_options: Annotated[str, typer.Option(metavar="TEXT", help="For build there, as '--sparse'.")] = "",
    python: Annotated[
        str | None, typer.Option(help="The device's Python, 3.10 or later. Default: looked for.", show_default=False)
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="A folder of wheels for the device, instead of your package index.")
    ] = None,
    folder: Annotated[
        str, typer.Option(help="Where on the device; in quotes, or your shell expands the ~.")
    ] = "~/.local/share/edgeprune",
    ssh: Annotated[str, typer.Option(help="The ssh client, as 'ssh -F my.config'.")] = "ssh",
    clean: Annotated[
        bool, typer.Option("--clean", help="Leave nothing on the devices: afterwards, or without BUNDLE at once.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the profiles, one in it per host. Default: beside the bundle."),
    ] = None,
    signers: Signers = None,
) -> None:
    """Copy a bundle to devices over ssh, check its answers there, measure it, and bring the profiles back."""
    from edgeprune.cli.fleet import live, show_cleaned, show_deliveries, split
    from edgeprune.deploy.connection import Reach
    from edgeprune.deploy.fleet import clean as clean_hosts
    from edgeprune.deploy.fleet import deploy as deploy_to
    from edgeprune.deploy.order import Asked
    from edgeprune.errors import EdgepruneError
    from edgeprune.spec.bundle import MANIFEST

    reach = Reach(ssh, python, folder)
    named = hosts or []
    if clean and not (bundle / MANIFEST).is_file():  # a folder may have a host's name
        named = [str(bundle), *named]
        with live(named) as show:
            cleaned = clean_hosts(named, reach, show)
        return show_cleaned(named, cleaned, json)
    if not named:
        raise EdgepruneError("no host is named. Give edgeprune deploy BUNDLE USER@HOST.")
    insist(signers, bundle)
    asked = Asked(data, wheels, profile, split(build_options), split(profile_options), clean)
    with live(named) as show:
        found = deploy_to(bundle, named, reach, asked, output or bundle.resolve().parent / "profiles", show)
    show_deliveries(found, json)
