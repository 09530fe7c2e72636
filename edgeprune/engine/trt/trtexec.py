"""NVIDIA's own tool on the same plan, to compare: found, called with what its definitions need, and read.

In 11.0 its defaults turned over (CUDA graph and spin-wait on, transfers off), so every flag is given by major version.
Its list of queries (`--exportTimes`) is read, not its log.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from edgeprune.engine.trt.release import Release
from edgeprune.engine.trt.timing import Query, summary
from edgeprune.errors import EdgepruneError
from edgeprune.spec.engine import QueryTimes

JETSON = Path("/usr/src/tensorrt/bin/trtexec")
START_LIMIT_S = 300
"""For loading the plan, on top of what is timed."""


def find_trtexec() -> Path | None:
    """On the path, or where JetPack puts it."""
    found = shutil.which("trtexec")
    if found is not None:
        return Path(found)
    return JETSON if JETSON.is_file() else None


def command(
    tool: Path, plan: Path, release: Release, shape: tuple[str, tuple[int, ...]] | None, seconds: float, graph: bool
) -> list[str]:
    """The call that times what `timing` times; `shape`: of an input whose shape varies."""
    arguments = [str(tool), f"--loadEngine={plan}", "--warmUp=200", "--iterations=10", f"--duration={seconds:g}"]
    if shape is not None:
        name, lengths = shape
        arguments.append(f"--shapes={name}:{'x'.join(map(str, lengths))}")
    if release.major >= 11:
        return [*arguments, "--includeDataTransfers", *([] if graph else ["--noCudaGraph"])]
    return [*arguments, "--useSpinWait", *(["--useCudaGraph"] if graph else [])]


def run_trtexec(arguments: list[str], times: Path, seconds: float, batch: int, graph: bool) -> QueryTimes:
    """Run it, writing its queries to a file, and summarise them.

    Raises:
        EdgepruneError: it fails, or takes too long.
    """
    call = [*arguments, f"--exportTimes={times}"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=seconds + START_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EdgepruneError(f"{arguments[0]}: {error}. Leave --compare-trtexec out.") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "[E]" in line]
        why = lines[0].strip() if lines else f"exit code {done.returncode}"
        raise EdgepruneError(f"{arguments[0]} fails ({why}). Leave --compare-trtexec out.")
    return read_times(times, batch, graph)


def read_times(path: Path, batch: int, graph: bool) -> QueryTimes:
    """Read what `--exportTimes` wrote.

    Raises:
        EdgepruneError: there are no queries in it.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        queries = [
            Query(entry["h2dMs"], entry["computeMs"], entry["d2hMs"], entry["endEnqMs"] - entry["startEnqMs"])
            for entry in entries
        ]
        walltime = 1e-3 * (entries[-1]["endD2hMs"] - entries[0]["startH2dMs"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise EdgepruneError(f"{path}: not what trtexec exports ({error!r}). Leave --compare-trtexec out.") from None
    return summary(queries, batch, max(walltime, 1e-9), graph)
