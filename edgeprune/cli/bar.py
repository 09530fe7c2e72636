"""A progress bar on stderr, fed by ticks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from edgeprune.progress import Tick


@contextmanager
def bar() -> Iterator[Tick]:
    """Show one line per stage, with the time left; nothing where stderr is no terminal.

    Drawn only when a tick brings news: a thread that draws on its own would disturb what is timed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}
        shown: dict[str, int] = {}

        def tick(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = progress.add_task(label, total=total)
            if shown.get(label) != done:
                shown[label] = done
                progress.update(tasks[label], completed=done, total=total, refresh=True)

        yield tick
