"""How an allocation was searched, as text: the rewards over the trials, and what layers kept as the search went on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edgeprune.spec.result import Allocation

COLUMNS, ROWS = 64, 8
EIGHTHS = " ▁▂▃▄▅▆▇█"
MOMENTS = 5
"""At which a layer's share is shown, from the start to the end."""
NAME = 28


def allocation_lines(allocations: Sequence[Allocation]) -> list[str]:
    """Return the learning curve of each search, then a table of what its parts kept over time."""
    lines: list[str] = []
    for number, found in enumerate(allocations, 1):
        cycle = f", cycle {number} of {len(allocations)}" if len(allocations) > 1 else ""
        if lines:
            lines.append("")
        if found.rewards:
            lines += [f"reward over {len(found.rewards)} trials by {found.allocator}{cycle}", "", *_curve(found), ""]
        lines += _table(found, cycle)
    return lines


def _curve(found: Allocation) -> list[str]:
    """Means of neighbouring trials as columns; the axis runs from the lowest of them to the best trial."""
    count = min(COLUMNS, len(found.rewards))
    edges = [round(column * len(found.rewards) / count) for column in range(count + 1)]
    means = [sum(found.rewards[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(found.rewards)
    span = high - low or 1.0
    rows = []
    for row in range(ROWS - 1, -1, -1):
        cells = [EIGHTHS[min(8, max(0, round(8 * ((mean - low) / span * ROWS - row))))] for mean in means]
        rows.append((f"{low + span * (row + 1) / ROWS:8.3f} " + "".join(cells)).rstrip())
    return [*rows, " " * 9 + "1" + str(len(found.rewards)).rjust(count - 1)]


def _table(found: Allocation, cycle: str) -> list[str]:
    """What each part kept in percent: by LAMP, along the course, and in the end."""
    steps = _moments(found)
    heads = ["LAMP", *(f"at {found.course[step].trials}" for step in steps), "taken"]
    rows = [found.lamp, *(found.course[step].kept for step in steps), found.kept]
    title = f"kept, in %{cycle if not found.rewards else ''}"
    lines = [title.ljust(NAME) + "".join(head.rjust(8) for head in heads)]
    for part, (name, units) in enumerate(zip(found.parts, found.units, strict=True)):
        short = name if len(name) < NAME else "..." + name[-(NAME - 4) :]
        lines.append(short.ljust(NAME) + "".join(f"{100 * row[part] / units:8.1f}" for row in rows))
    return lines


def _moments(found: Allocation) -> list[int]:
    """Places in the course, evenly from its start to its end."""
    last, count = len(found.course) - 1, min(MOMENTS - 1, len(found.course))
    return [round(last * (moment + 1) / count) for moment in range(count)] if last > 0 else []
