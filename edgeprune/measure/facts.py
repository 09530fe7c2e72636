"""Small files of /proc and /sys, read without a fault where they are missing or refused."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str:
    """What a file says; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def number(path: Path) -> float | None:
    """The number that a file says; None where it says none."""
    try:
        return float(text(path))
    except ValueError:
        return None


def field(pattern: str, content: str) -> str | None:
    """The first group of a pattern's first match, line by line."""
    found = re.search(pattern, content, re.MULTILINE)
    return found[1].strip() if found else None


def natural(path: Path) -> tuple[str | int, ...]:
    """A sort key by which cpu10 comes after cpu9."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path)))
