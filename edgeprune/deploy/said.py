"""What a device says, fit for the user's terminal: nothing in it moves the cursor or sets a title."""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    """Return a text with a space for what is neither a line break nor seen."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def all_printable(document: Any) -> Any:
    """Return a JSON document in which every text is printable."""
    if isinstance(document, str):
        return printable(document)
    if isinstance(document, list):
        return [all_printable(item) for item in document]
    if isinstance(document, dict):
        return {printable(key): all_printable(value) for key, value in document.items()}
    return document
