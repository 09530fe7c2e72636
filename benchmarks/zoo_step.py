"""What is known of one network of the zoo under one tool: a file that every step adds to.

So that a process that was killed still says where it stood.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Log:
    """What is known of one network; `step` times a part of the work and measures its memory."""

    file: Path
    known: dict[str, Any] = field(default_factory=dict)

    def note(self, **found: Any) -> None:
        self.known |= found
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(self.known, indent=1), encoding="utf-8")
        os.replace(partial, self.file)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add `NAME_s`, `NAME_cpu_s` (this process alone: neighbours do not count), and `NAME_mib`.

        The latter is the peak resident memory above that at the step's start.
        """
        self.note(step=name)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel's peak starts anew
        before, start, busy = memory_mib(), time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.note(
                **{
                    f"{name}_s": round(time.perf_counter() - start, 3),
                    f"{name}_cpu_s": round(time.process_time() - busy, 3),
                    f"{name}_mib": round(memory_mib() - before, 1),
                }
            )


def memory_mib() -> float:
    """Peak resident memory since the peak was last cleared."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
