"""Several devices at once: a thread for each, since all that a thread does is wait for its device."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgeprune.deploy.connection import Connection, Reach
from edgeprune.deploy.hosts import host_folder, refuse_hosts
from edgeprune.deploy.order import Asked, Delivery, State, make_order
from edgeprune.deploy.prove import prove
from edgeprune.deploy.stock import greet, stock
from edgeprune.deploy.visit import visit
from edgeprune.errors import EdgepruneError

ShowHost = Callable[[str, State], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why a device failed, in one line."""

    host: str
    reason: str


def deploy(
    bundle: Path, hosts: Sequence[str], reach: Reach, asked: Asked, profiles: Path, show: ShowHost
) -> list[Delivery | Fault]:
    """Deploy a bundle to hosts, all at once, and return what became of it on each, in their order.

    Raises:
        EdgepruneError: what no host is needed to know: a damaged bundle, a host named twice.
    """
    refuse_hosts(hosts)
    with tempfile.TemporaryDirectory() as aside:
        order = make_order(bundle, asked, Path(aside))

        def work(host: str, connection: Connection) -> Delivery:
            tell = partial(show, host)
            delivery = prove(connection, order, stock(connection, order, tell), profiles / host_folder(host), tell)
            cleaned = asked.clean and connection.ask("clean")
            return delivery.model_copy(update={"cleaned": cleaned})

        return _each(hosts, reach, work, show)


def clean(hosts: Sequence[str], reach: Reach, show: ShowHost) -> list[bool | Fault]:
    """Remove all that deploy put on hosts, and say of each whether there was something."""
    refuse_hosts(hosts)

    def work(host: str, connection: Connection) -> bool:
        show(host, State("cleaning"))
        greet(connection)
        found: bool = connection.ask("clean")
        return found

    return _each(hosts, reach, work, show)


def _each(hosts: Sequence[str], reach: Reach, work: Callable[[str, Connection], T], show: ShowHost) -> list[T | Fault]:
    """Do work on every host in a thread of its own; one that fails does not stop the others."""
    found: dict[str, T | Fault] = {}
    ended: queue.Queue[BaseException | None] = queue.Queue()

    def run(host: str) -> None:
        try:
            found[host] = visit(host, reach, partial(work, host), lambda step: show(host, State(step)))
            show(host, State("done", ended=True))
        except EdgepruneError as error:
            text = str(error)
            found[host] = Fault(host, text if text.startswith(host) else f"{host}: {text}")
            show(host, State("failed", ended=True))
        except BaseException as error:  # ours: raised where the user sees its traceback
            ended.put(error)
            return
        ended.put(None)

    for host in hosts:
        # Daemons, so that Ctrl-C ends the command; ssh ends with it, and the devices keep what they have.
        threading.Thread(target=run, args=(host,), daemon=True).start()
    for _ in hosts:
        error = ended.get()
        if error is not None:
            raise error
    return [found[host] for host in hosts]
