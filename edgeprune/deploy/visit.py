"""Work over a connection that may break: it is opened again, and the work, which skips what is done, starts over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgeprune.deploy.connection import Connection, Lost, Reach, connect
from edgeprune.errors import EdgepruneError

PAUSES_S = (1, 2, 4, 8, 15, 15, 15)

T = TypeVar("T")


def visit(host: str, reach: Reach, work: Callable[[Connection], T], tell: Callable[[str], None]) -> T:
    """Return what the work returns.

    Raises:
        EdgepruneError: no first connection, or a broken one that could not be opened again within a minute.
    """
    failures, reason = 0, ""
    while True:
        connection = None
        try:
            with connect(host, reach) as connection:
                return work(connection)
        except Lost as lost:
            assert connection is not None
            reason = str(lost)
            failures = 1 if connection.progress else failures + 1
        except EdgepruneError:
            if connection is not None or not failures:  # not for want of a connection, or for want of the first
                raise
            failures += 1
        if failures > len(PAUSES_S):
            raise EdgepruneError(
                f"{host}: the connection broke ({reason}). Run the same command again: it goes on where it stopped."
            )
        tell(f"connection broke, trying again ({failures} of {len(PAUSES_S)})")
        time.sleep(PAUSES_S[failures - 1])
