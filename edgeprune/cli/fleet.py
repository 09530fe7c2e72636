"""Several devices on one terminal: a line for each while they work, and a table of what they did."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import typer

from edgeprune.errors import EdgepruneError

if TYPE_CHECKING:
    from rich.table import Table

    from edgeprune.deploy.fleet import Fault, ShowHost
    from edgeprune.deploy.order import Delivery, State


def split(options: str) -> tuple[str, ...]:
    """Split options as a shell would.

    Raises:
        EdgepruneError: a quote that is not closed.
    """
    try:
        return tuple(shlex.split(options))
    except ValueError as error:
        raise EdgepruneError(f"{options!r}: {str(error).lower()}. Close it.") from None


@contextmanager
def live(hosts: Sequence[str]) -> Iterator[ShowHost]:
    """Show where every host is: a table that is kept up to date, or a line per step where stderr is no terminal."""
    from rich.console import Console
    from rich.live import Live

    from edgeprune.deploy.order import State

    console = Console(stderr=True)
    states = {host: State("connecting") for host in hosts}
    since = dict.fromkeys(hosts, time.monotonic())

    def show(host: str, state: State) -> None:
        if state.step != states[host].step:
            since[host] = time.monotonic()
            if not console.is_terminal and not state.ended:
                typer.echo(f"{host}: {state.step}", err=True)
        states[host] = state

    with ExitStack() as stack:
        if console.is_terminal:
            table = Live(console=console, transient=True, get_renderable=lambda: _progress(states, since))
            stack.enter_context(table)
        yield show


def _progress(states: dict[str, State], since: dict[str, float]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from edgeprune.report.figures import sized

    table = Table.grid(padding=(0, 2))
    for host, state in states.items():
        seconds = time.monotonic() - since[host]
        if state.total:
            left = f"{seconds * (state.total / state.done - 1):.0f} s left" if state.done else ""
            bar = ProgressBar(total=state.total, completed=state.done, width=20)
            table.add_row(host, state.step, bar, f"{sized(state.done)} of {sized(state.total)}", left)
        else:
            table.add_row(host, state.step, "", "" if state.ended else f"{seconds:.0f} s", "")
    return table


def show_deliveries(found: Sequence[Delivery | Fault], json: bool) -> None:
    """Print what every device has and did.

    Raises:
        EdgepruneError: some device failed; the others were shown before.
    """
    from edgeprune.deploy.fleet import Fault

    done = [item for item in found if not isinstance(item, Fault)]
    if json:
        _document([_plain(item) if isinstance(item, Fault) else item.model_dump(by_alias=True) for item in found])
    elif done:
        from rich.console import Console

        Console().print(_table(done), highlight=False)
        for item in done:
            _tell_rest(item)
    _raise(found)


def show_cleaned(hosts: Sequence[str], found: Sequence[bool | Fault], json: bool) -> None:
    """Print which devices had something to remove.

    Raises:
        EdgepruneError: some device failed; the others were shown before.
    """
    from edgeprune.deploy.fleet import Fault

    rows = [(host, item) for host, item in zip(hosts, found, strict=True)]
    if json:
        _document([_plain(item) if isinstance(item, Fault) else {"host": host, "cleaned": item} for host, item in rows])
    else:
        for host, item in rows:
            if not isinstance(item, Fault):
                typer.echo(f"{host}: {'all removed' if item else 'nothing was there'}")
    _raise(found)


def _plain(fault: Fault) -> dict[str, Any]:
    return {"host": fault.host, "error": fault.reason}


def _document(hosts: list[dict[str, Any]]) -> None:
    import json as text

    typer.echo(text.dumps({"schema": 1, "hosts": hosts}, indent=2))


def _raise(found: Sequence[object]) -> None:
    from edgeprune.deploy.fleet import Fault

    reasons = [item.reason for item in found if isinstance(item, Fault)]
    if reasons:
        raise EdgepruneError(" ".join(reasons))


def _table(done: Sequence[Delivery]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    table.add_column("device", overflow="fold")
    for heading in ("Python", "error (allowed)", "p50 ms", "p90 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in done:
        latency = None if item.profile is None else item.profile.latency_ms
        figures = ("-", "-") if latency is None else (f"{latency.p50:.3f}", f"{latency.p90:.3f}")
        answers = f"{item.answers.worst:.2g} ({item.answers.tolerance:.2g})"
        table.add_row(*map(Text, (item.host, item.device.board, item.device.python, answers, *figures)))
    return table


def _tell_rest(item: Delivery) -> None:
    """Say on stderr where things are, and what to know of them."""
    if item.profile is not None and item.waiting:
        typer.echo(f"{item.host}: the profile was waiting there; it is of {item.profile.date}", err=True)
    if item.profile is not None and item.profile.machine.mismatch is not None:
        typer.echo(f"{item.host}: not the target: {item.profile.machine.mismatch}", err=True)
    if item.profile_file is not None:
        typer.echo(f"{item.host}: profile written to {item.profile_file}", err=True)
    if not item.cleaned:
        typer.echo(f"{item.host}: there: {item.environment} -m edgeprune profile {item.bundle}", err=True)
