"""The options of CAMP-HiVe's cycles, to what a recipe holds."""

from __future__ import annotations

from typing import Any, get_args

from edgeprune.errors import EdgepruneError
from edgeprune.spec.methods import MergeName, MergeOn, Preset, Significance

CYCLING = ("preset", "cycles", "score", "merge", "merge_on", "between")
CHOICES = {
    "preset": get_args(Preset),
    "score": get_args(Significance),
    "merge": get_args(MergeName),
    "merge_on": get_args(MergeOn),
}


def cycling(options: dict[str, Any]) -> dict[str, Any]:
    """The recipe's `[camp_hive]`.

    Raises:
        EdgepruneError: they belong to another method, or name what is unknown.
    """
    given = {name: options[name] for name in CYCLING if options[name] is not None}
    if given and options["method"] != "camp-hive":
        raise EdgepruneError(f"{_flag(next(iter(given)))} belongs to --method camp-hive. Give it too, or leave it out.")
    for name, choices in CHOICES.items():
        if name in given and given[name] not in choices:
            raise EdgepruneError(f"unknown {_flag(name)} {given[name]!r}. Known: {', '.join(choices)}.")
    return given


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
