"""`edgeprune targets`: the devices that are known, and what is known of one."""

from __future__ import annotations

from typing import Annotated

import typer


def targets(
    name: Annotated[str | None, typer.Argument(help="A target, an alias, or a .toml file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List the known targets, or show one with every fact and its source."""
    import json as encoder

    from rich.console import Console

    from edgeprune.report.catalogue import list_table, target_table
    from edgeprune.spec.target import ALIASES, known_targets, load_target

    found = [load_target(name)] if name else [load_target(known) for known in known_targets()]
    if json:
        plain = [target.model_dump(mode="json", exclude_none=True) for target in found]
        document = plain[0] if name else {"schema": 1, "targets": plain, "aliases": ALIASES}
        typer.echo(encoder.dumps(document, indent=2))
    else:
        Console().print(target_table(found[0], name) if name else list_table(found), highlight=False)
