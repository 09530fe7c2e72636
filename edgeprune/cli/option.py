"""How an option of the command line is written down."""

from __future__ import annotations

from typing import Any

import typer


def option(help_: str, panel: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel, metavar=metavar, show_default=False, **more)
