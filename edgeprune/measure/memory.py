"""How much memory a model needs: the peak of a fresh process that loads and runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeprune.engine.runner import RuntimeName
from edgeprune.errors import EdgepruneError
from edgeprune.spec.profile import Memory

LIMIT_S = 600
ARENA = re.compile(r"Extending BFCArena for (\S+?)\.|Total allocated bytes: (\d+)")


@dataclass(frozen=True)
class Loading:
    """How a model is loaded where its memory is measured."""

    runtime: RuntimeName = "cpu"
    exact: bool = False
    unified: bool = False
    """Whether CPU and GPU share their memory."""


def measure_memory(model: Path, shape: tuple[int, ...], threads: int, loading: Loading = Loading()) -> Memory:
    """Load and run a model in a process of its own, on zeros of `shape` (with the batch axis).

    Raises:
        EdgepruneError: that process failed, or this system has no /proc to read the peak from.
    """
    if not Path("/proc/self/status").is_file():
        raise EdgepruneError("this system has no /proc to read peak memory from. Profile on Linux.")
    request = {"model": str(model), "shape": shape, "threads": threads, "exact": loading.exact}
    request |= {"runtime": loading.runtime, "gpu": loading.runtime != "cpu", "unified": loading.unified}
    command = [sys.executable, "-m", "edgeprune.measure.resident", json.dumps(request)]
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
        private_bytes=answer["private"],
        arena_bytes=arena_bytes(done.stderr),
        gpu_bytes=answer["gpu"],
        gpu_from=answer["gpu_from"] if answer["gpu"] is not None else None,
        unified_bytes=answer["unified"],
    )


def arena_bytes(log: str) -> int | None:
    """What ONNX Runtime's arenas had taken at the end, by the lines that they log when they grow."""
    totals: dict[str, int] = {}
    name = ""
    for grown, total in ARENA.findall(log):
        if grown:
            name = grown
        elif name:
            totals[name] = int(total)
    return sum(totals.values()) if totals else None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}; out of memory?"
    lines = [line for line in done.stderr.strip().splitlines() if ":onnxruntime:" not in line]
    return lines[-1] if lines else f"exit code {done.returncode}"
