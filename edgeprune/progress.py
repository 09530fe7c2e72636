"""How far a long job is, and what to know about it, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Tick: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done (`reading images`), how many are done, and how many there are."""

Tell: TypeAlias = Callable[[str], None]
"""Called with a line that the user must know before the work goes on."""


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""


def untold(line: str) -> None:
    """Tell nobody."""
