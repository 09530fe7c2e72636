"""Whether other processes had the processor meanwhile: how long this process's threads were ready, and waited.

The second number of `/proc/PID/task/TID/schedstat` is the nanoseconds that a thread spent on a run queue (Linux kernel,
Documentation/scheduler/sched-stats.rst). Time waited is in every latency that is measured by the clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgeprune.measure.facts import text

NS_PER_S = 1e9


def waited_s(root: Path = Path("/")) -> float | None:
    """Seconds that the threads of this process have waited since each began; None where the kernel does not count."""
    rows = [text(file).split() for file in (root / "proc/self/task").glob("*/schedstat")]
    waited = [int(row[1]) for row in rows if len(row) == 3]
    return sum(waited) / NS_PER_S if waited else None


@dataclass(frozen=True)
class Contention:
    """A stretch that began at a moment of the clock, `waited` seconds having been waited before."""

    root: Path
    begin: float
    waited: float | None

    def share(self, threads: int) -> float | None:
        """Of the time since, what each of `threads` spent waiting; other threads of the process hardly run."""
        now, seconds = waited_s(self.root), time.perf_counter() - self.begin
        if now is None or self.waited is None:
            return None
        return min(max(now - self.waited, 0.0) / (seconds * threads), 1.0)


def watch_contention(root: Path = Path("/")) -> Contention:
    return Contention(root, time.perf_counter(), waited_s(root))
