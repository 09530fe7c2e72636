"""The process whose memory is measured: it loads a model, runs it, and writes one line of JSON to stdout.

Started by `memory.py` as `python -m edgeprune.measure.resident`, so that nothing else is in it.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import numpy as np

from edgeprune.engine.ort import open_model

RUNS = 3  # the first run grows the arena; a later one shows whether it stays


def main() -> None:
    """Read the request from the first argument, and answer with bytes: `peak` and `added`."""
    request = json.loads(sys.argv[1])
    import onnxruntime  # noqa: F401 - counted as interpreter, not as model

    start = peak_bytes()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew here, below that of the imports
    before = peak_bytes()
    runner = open_model(Path(request["model"]), request["threads"], exact=request["exact"])
    x = np.zeros(request["shape"], dtype=np.float32)
    for _ in range(RUNS):
        runner.run(x)
    after = peak_bytes()
    json.dump({"peak": max(start, after), "added": after - before}, sys.stdout)


def peak_bytes() -> int:
    """Return the peak resident set of this process (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    line = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if line is None:
        raise SystemExit("this kernel reports no VmHWM in /proc/self/status")
    return 1024 * int(line[1])


if __name__ == "__main__":
    main()
