"""Targets as terminal tables: the list of all, and one with every fact and its source."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeprune.report.figures import NONE
from edgeprune.spec.target import ALIASES, Fact, Target


def list_table(targets: Sequence[Target]) -> RenderableType:
    """Return one line per target, and the aliases below."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("target", no_wrap=True)
    drawn.add_column("device", overflow="fold")
    drawn.add_column("runtime", no_wrap=True)
    drawn.add_column("INT8 TOPS", justify="right", no_wrap=True)
    for target in targets:
        tops = target.int8_tops_dense
        drawn.add_row(target.name, Text(target.device), target.runtime, NONE if tops is None else f"{tops.value:g}")
    aliases = (Text(f"{alias} is another name of {name}") for alias, name in ALIASES.items())
    return Group(drawn, *aliases)


def target_table(target: Target, asked: str) -> RenderableType:
    """Return a target's facts; `asked` is the name that the user gave."""
    alias = f" ({asked} is another name of it)" if asked in ALIASES else ""
    heading = Text(f"{target.name}{alias}: {target.device}, {target.runtime}", style="bold")
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("fact", no_wrap=True)
    drawn.add_column("value", overflow="fold", max_width=20)
    drawn.add_column("source", overflow="fold")
    for name, fact in facts(target).items():
        value = ", ".join(map(str, fact.value)) if isinstance(fact.value, list) else str(fact.value)
        drawn.add_row(name, Text(value), Text(fact.source))
    return Group(heading, drawn)


def facts(target: Target) -> dict[str, Fact[object]]:
    """Return the facts that a target states, by name."""
    stated = {name: getattr(target, name) for name in Target.model_fields}
    return {name: fact for name, fact in stated.items() if isinstance(fact, Fact)}
