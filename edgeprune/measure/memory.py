"""How much memory a model needs: the peak of a fresh process that loads and runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.spec.profile import Memory

LIMIT_S = 600


def measure_memory(model: Path, shape: tuple[int, ...], threads: int, *, exact: bool = False) -> Memory:
    """Load and run a model in a process of its own, on zeros of `shape` (with the batch axis).

    Raises:
        EdgepruneError: that process failed, or this system has no /proc to read the peak from.
    """
    if not Path("/proc/self/status").is_file():
        raise EdgepruneError("this system has no /proc to read peak memory from. Profile on Linux.")
    request = json.dumps({"model": str(model), "shape": shape, "threads": threads, "exact": exact})
    command = [sys.executable, "-m", "edgeprune.measure.resident", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgepruneError(f"{model}: one process that runs it took more than {LIMIT_S} s.") from None
    if done.returncode != 0:
        raise EdgepruneError(f"{model}: measuring its memory failed ({_reason(done)}).")
    answer = json.loads(done.stdout)
    return Memory(
        model_bytes=model.stat().st_size,
        peak_resident_bytes=answer["peak"],
        added_resident_bytes=answer["added"],
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}; out of memory?"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
