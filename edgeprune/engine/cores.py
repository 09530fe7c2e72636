"""How many physical cores this process may use: the default number of threads.

Two threads on one core share its vector units, so counting them as two only makes them wait for each other.
"""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> list[int]:
    """Return the logical CPUs that the scheduler may give this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(root: Path = Path("/")) -> int:
    """Count the physical cores behind the usable CPUs; CPUs whose topology is not told count as cores."""
    topology = root / "sys/devices/system/cpu"
    cores = set()
    for cpu in usable_cpus():
        siblings = topology / f"cpu{cpu}/topology/thread_siblings_list"
        cores.add(siblings.read_text().strip() if siblings.is_file() else f"cpu{cpu}")
    return len(cores)
