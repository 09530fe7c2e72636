"""Milliseconds per node, as ONNX Runtime's own profiler tells them."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.ort import load_session

APPENDED = re.compile(r"(_token_\d+|_nchwc|_nhwc|_quant)+$")
"""What ONNX Runtime appends to the name of a node that it made of others."""
US_PER_MS = 1000.0


def layer_times(
    path: Path, x: NDArray[np.float32], calls: int, threads: int, *, exact: bool = False
) -> dict[str, float]:
    """Least milliseconds of each node of an ONNX file over some calls on `x`.

    The least, since a call that something interrupts loses the time in one node or between them, not in all alike.

    Nodes with weights are named for their modules where ONNX Runtime's fusions leave their names, as in INT8. What
    lies between nodes is `between nodes`; the profiler's own cost is in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = load_session(path, threads, exact=exact, profile=str(Path(folder) / "profile"))
        name = session.get_inputs()[0].name
        for _ in range(calls):
            session.run(None, {name: x})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken: dict[str, list[float]] = {}
    whole: list[float] = []
    for event in events:
        if event.get("name") == "model_run":
            whole.append(event["dur"])
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"])
    least: dict[str, float] = {}
    for node, durations in taken.items():
        layer = APPENDED.sub("", node)
        least[layer] = least.get(layer, 0.0) + min(durations) / US_PER_MS
    between = min(whole) / US_PER_MS - sum(least.values())
    return {**least, "between nodes": max(between, 0.0)}
