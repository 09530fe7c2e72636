"""`edgeprune prune`: the chain up to the pruned, fine-tuned network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.cli import ask, show


@ask.takes_options
def prune(options: dict[str, Any], output: Path | None, json: bool) -> None:
    """Score, cut, compact and fine-tune; `quantize` and `export` go on from the run directory."""
    show.quiet()
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.options import default_folder, recipe_from

    asked = recipe_from(options)  # before torch: a typo should fail at once
    folder = output or default_folder(asked)
    from edgeprune.pipeline.compress import prune as run

    with bar() as tick:
        outcome = run(asked, folder, tick, show.tell)
    show.show_stages(outcome, folder, json)
