"""The process whose memory is measured: it loads a bundle, runs it, and writes one line of JSON to stdout.

Started by `memory.py` as `python -m edgeprune.measure.resident`, so that nothing else is in it. ONNX Runtime's
allocator tells on stderr what it takes; the parent reads that.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.engine.runner import RUNTIMES
from edgeprune.measure.facts import field, text
from edgeprune.measure.gpu_memory import GpuMemory, open_gpu_memory

RUNS = 3  # the first run grows the arena; a later one shows whether it stays
INFORM = 1
KB = 1024


def main() -> None:
    """Read the request from the first argument, and answer with bytes; None where something is not told."""
    request = json.loads(sys.argv[1])
    _let_the_arena_speak()
    start, available = peak_bytes(), available_bytes()
    gpu = open_gpu_memory(os.getpid()) if request["gpu"] else None
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew here, below that of the imports
    before = peak_bytes()
    runner = RUNTIMES[request["runtime"]].open(Path(request["model"]), request["threads"], request["exact"])
    x = np.zeros(request["shape"], dtype=np.float32)
    seen = []
    for _ in range(RUNS):
        runner.run(x)
        seen.append(_seen(gpu))
    after = peak_bytes()
    answer: dict[str, Any] = {"peak": max(start, after), "added": after - before, "private": _most(seen, "private")}
    answer |= {"gpu": _most(seen, "gpu"), "gpu_from": gpu.words if gpu is not None else None}
    lowest = min(row["available"] for row in seen)
    answer["unified"] = max(available - lowest, 0) if request["unified"] else None
    json.dump(answer, sys.stdout)


def _let_the_arena_speak() -> None:
    """Before any session; the import counts as interpreter, not as model."""
    with contextlib.suppress(ImportError):
        importlib.import_module("onnxruntime").set_default_logger_severity(INFORM)


def _seen(gpu: GpuMemory | None) -> dict[str, Any]:
    return {
        "private": private_bytes(),
        "gpu": gpu.used() if gpu is not None else None,
        "available": available_bytes(),
    }


def _most(seen: list[dict[str, Any]], name: str) -> int | None:
    told = [row[name] for row in seen if row[name] is not None]
    return max(told) if told else None


def peak_bytes() -> int:
    """Return the peak resident set of this process (VmHWM)."""
    kb = field(r"^VmHWM:\s+(\d+) kB", text(Path("/proc/self/status")))
    if kb is None:
        raise SystemExit("this kernel reports no VmHWM in /proc/self/status")
    return KB * int(kb)


def private_bytes(rollup: Path = Path("/proc/self/smaps_rollup")) -> int | None:
    """Return the pages of this process that no other shares."""
    parts = re.findall(r"^Private_(?:Clean|Dirty|Hugetlb):\s+(\d+) kB", text(rollup), re.MULTILINE)
    return KB * sum(map(int, parts)) if parts else None


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return what the kernel says a new process could take without swapping."""
    kb = field(r"^MemAvailable:\s+(\d+) kB", text(meminfo))
    return KB * int(kb) if kb is not None else 0


if __name__ == "__main__":
    main()
