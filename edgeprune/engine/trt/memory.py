"""Whether there is memory enough to build, before an hour goes into a build that the kernel ends."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune.engine.trt.driver import Gpu
from edgeprune.errors import EdgepruneError

LIBRARIES = 1200 << 20
"""TensorRT's library and one architecture's kernels: 663 + 116 to 454 MB in the wheels of 10.16, and CUDA's context."""
COPIES = 4
"""Of the weights: as parsed, as converted, in the plan and in the candidates that are timed."""
GIB = 1 << 30


def needed_bytes(model: Path, workspace_mb: int | None) -> int:
    """An estimate of what a build takes, besides activations."""
    return LIBRARIES + COPIES * model.stat().st_size + ((workspace_mb or 0) << 20)


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory of the system that is left, swap included; None where it is not told."""
    try:
        text = meminfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = dict(re.findall(r"^(MemAvailable|SwapFree):\s+(\d+) kB", text, re.MULTILINE))
    return None if "MemAvailable" not in found else 1024 * sum(int(value) for value in found.values())


def check_memory(model: Path, workspace_mb: int | None, gpu: Gpu, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Refuse a build that will not fit.

    Raises:
        EdgepruneError: too little is left, or the workspace is larger than the device.
    """
    if workspace_mb is not None and workspace_mb << 20 > gpu.memory_bytes:
        raise EdgepruneError(
            f"--workspace {workspace_mb} MB is more than the {gpu.memory_bytes / GIB:.1f} GiB of {gpu.name}. "
            "Give less, or leave it out."
        )
    left = available_bytes(meminfo)
    if left is None:
        return
    needed = needed_bytes(model, workspace_mb if gpu.integrated else None)
    if left < needed:
        raise EdgepruneError(
            f"a build takes about {needed / GIB:.1f} GiB of memory, and {left / GIB:.1f} GiB are left. End other "
            "programs (on a Jetson also the desktop: sudo systemctl isolate multi-user), or add swap."
        )
