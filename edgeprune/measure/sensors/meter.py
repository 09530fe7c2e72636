"""An external power meter, by the CSV that its logger writes: a time and watts in each row.

Times are seconds since 1970, or ISO 8601; without a zone they are this machine's. The meter's clock must agree with
this machine's to well below the length of the run, as with NTP.
"""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.measure.sensors.sensor import About, Trace

RAIL = "meter"
EXPECTED = "Expected rows of a time (seconds since 1970, or ISO 8601) and watts, as 1764140000.5,12.31"


def read_meter(path: Path, offset_s: float) -> Trace:
    """Read a meter's log; `offset_s`: what to add to its times to get those of the timed calls.

    Raises:
        EdgepruneError: no readable file of such rows.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgepruneError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    comma = ";" if content.partition("\n")[0].count(";") else ","
    rows = [row for row in csv.reader(content.splitlines(), delimiter=comma) if row and not row[0].startswith("#")]
    if rows and not _number(rows[0][-1]):
        columns, rows = _columns(rows[0]), rows[1:]
    else:
        columns = (0, 1)
    # A logger may be in the middle of its last row.
    if rows and len(rows[-1]) <= max(columns):
        rows = rows[:-1]
    try:
        read = [(_seconds(row[columns[0]]), float(row[columns[1]])) for row in rows]
    except (ValueError, IndexError):
        raise EdgepruneError(f"{path}: not a meter's log. {EXPECTED}.") from None
    if not read:
        raise EdgepruneError(f"{path}: holds no readings. {EXPECTED}.")
    times, watts = (np.array(column, dtype=np.float64) for column in zip(*sorted(read), strict=True))
    period = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return Trace(About(f"an external meter ({path.name})", False, (RAIL,), period), times + offset_s, {RAIL: watts})


def _columns(header: list[str]) -> tuple[int, int]:
    """Where the times and the watts are: by their names, else the first two."""
    names = [name.strip().lower() for name in header]
    when = next((i for i, name in enumerate(names) if "time" in name or "date" in name), 0)
    power = [i for i, name in enumerate(names) if i != when and ("watt" in name or "power" in name or name == "w")]
    return when, power[0] if power else (1 if when == 0 else 0)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _seconds(word: str) -> float:
    if _number(word):
        return float(word)
    return datetime.datetime.fromisoformat(word.strip().replace("Z", "+00:00")).timestamp()
