"""How far a long job is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Tick: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done (`reading images`), how many are done, and how many there are."""


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""
