"""Figures as people read them: units, digits, and a dash where there is none."""

from __future__ import annotations

NONE = "-"


def counted(number: int) -> str:
    """Return a count with three digits and k, M or G: 41.2 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{_three_digits(number / size)} {unit}"
    return str(number)


def sized(size_bytes: int) -> str:
    """Return a size in decimal units: 1.09 MB."""
    return f"{counted(size_bytes)}B" if size_bytes >= 1000 else f"{size_bytes} B"


def several(count: int, what: str) -> str:
    """Return `1 thread`, `2 threads`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def percent(share: float | None, digits: int = 1) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f}"


def accuracy(value: float | None, standard_error: float | None) -> str:
    """Return percent, with the standard error where there is one: 92.31 ± 0.27."""
    if value is None:
        return NONE
    doubt = "" if standard_error is None else f" ± {100 * standard_error:.2f}"
    return f"{100 * value:.2f}{doubt}"


def points(drop: float) -> str:
    """Return a loss of accuracy as a signed change: -0.44 points."""
    return f"{-100 * drop + 0.0:+.2f} points"


def milliseconds(value: float | None) -> str:
    return NONE if value is None else _three_digits(value)


def times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}x"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}"
