"""`edgeprune compress`: the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.cli import ask, show


@ask.takes_options
def compress(options: dict[str, Any], output: Path | None, json: bool) -> None:
    """Prune, compact, train in INT8, export, check, package and measure a trained network.

    Without MODEL and --data it runs the built-in example: ResNet-18, trained on scikit-learn's digits first.
    """
    show.quiet()
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.options import default_folder, recipe_from

    asked = recipe_from(options)  # before torch: a typo should fail at once
    folder = output or default_folder(asked)
    from edgeprune.pipeline.compress import compress as run

    with bar() as tick:
        outcome = run(asked, folder, tick, show.tell)
    show.show(outcome.result, folder, json)
