"""The options of AMP-HASA."""

from __future__ import annotations

from typing import Any

from edgeprune.errors import EdgepruneError

ALLOCATING = ("allocator", "evaluations", "search_minutes", "ray")


def allocating(options: dict[str, Any]) -> dict[str, Any]:
    """What a recipe's [amp_hasa] says, by the options.

    Raises:
        EdgepruneError: they are for another method, or no numbers that make sense.
    """
    given = {name: options[name] for name in ALLOCATING if options[name] is not None}
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if options["method"] != "amp-hasa":
            raise EdgepruneError(f"{option} belongs to --method amp-hasa. Give it too, or leave {option} out.")
        least = {"evaluations": 2, "ray": 1}.get(name)
        if least is not None and value < least:
            raise EdgepruneError(f"{option} {value}: {least} or more are needed.")
        if name == "search_minutes" and value <= 0:
            raise EdgepruneError(f"{option} {value:g}: a time above 0 is needed.")
    return {"minutes" if name == "search_minutes" else name: value for name, value in given.items()}
