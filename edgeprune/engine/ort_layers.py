"""Milliseconds per node, as ONNX Runtime's own profiler tells them."""

from __future__ import annotations

import json
import re
import statistics
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
    """Median milliseconds of each node of an ONNX file over some calls on `x`, the first tenth left out.

    Nodes with weights are named for their modules where ONNX Runtime's fusions leave their names, as in INT8. What
    lies between nodes is `between nodes`; the profiler's own cost is in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = load_session(path, threads, exact=exact, profile=str(Path(folder) / "profile"))
        name = session.get_inputs()[0].name
        for _ in range(calls):
            session.run(None, {name: x})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    skipped = calls // 10
    taken: dict[str, list[float]] = {}
    whole: list[float] = []
    for event in events:
        if event.get("name") == "model_run":
            whole.append(event["dur"])
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"])
    medians: dict[str, float] = {}
    for node, durations in taken.items():
        layer = APPENDED.sub("", node)
        medians[layer] = medians.get(layer, 0.0) + statistics.median(durations[skipped:]) / US_PER_MS
    between = statistics.median(whole[skipped:]) / US_PER_MS - sum(medians.values())
    return {**medians, "between nodes": max(between, 0.0)}
