"""`edgeprune inspect`: what can be cut from a network, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeprune.cli import ask, show


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="Built-in name, timm:NAME, torchvision:NAME, file.py:function, package.module:function or .pt2.",
            show_default=False,
        ),
    ],
    weights: ask.Weights = None,
    image_size: ask.ImageSize = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Of the images. [default: the network's, else 3]", show_default=False)
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="[default: the network's own, else 1000]", show_default=False)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="For its channel multiple and its milliseconds.", metavar="NAME", show_default=False),
    ] = None,
    json: ask.Json = False,
) -> None:
    """Show groups of channels, frozen parts, MACs and parameters per layer, and how small a network can get."""
    from edgeprune.spec.target import load_target

    device = load_target(target) if target is not None else None  # before torch: a typo should fail at once
    show.quiet()
    from rich.console import Console

    from edgeprune.model.load import open_network
    from edgeprune.pruning.inspection import inspect_network
    from edgeprune.report.inspection import tables, to_json
    from edgeprune.spec.recipe import Source

    source = Source(model=model, data="", weights=weights)
    found = inspect_network(open_network(source, num_classes, channels, image_size), model, device)
    if json:
        typer.echo(to_json(found))
    else:
        Console().print(tables(found), highlight=False)
