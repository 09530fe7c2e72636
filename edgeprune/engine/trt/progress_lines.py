"""How a worker process tells its parent how far it is: one line of JSON each on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from edgeprune.progress import Tell, Tick


def tick_line(label: str, done: int, total: int) -> None:
    _write({"tick": [label, done, total]})


def tell_line(text: str) -> None:
    _write({"tell": text})


def answer_line(answer: dict[str, Any]) -> None:
    _write({"answer": answer})


def fault_line(text: str) -> None:
    _write({"fault": text})


def follow(line: str, tick: Tick, tell: Tell) -> dict[str, Any] | None:
    """Pass on what a line tells; an answer or a fault is returned. Other output is not ours."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if "tick" in said:
        tick(*said["tick"])
    elif "tell" in said:
        tell(said["tell"])
    elif "answer" in said or "fault" in said:
        return said
    return None


def _write(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
