"""Milliseconds per node, as ONNX Runtime's own profiler tells them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.spec.profile import BETWEEN

APPENDED = re.compile(r"^fused |(_token_\d+|_nchwc|_nhwc|_quant)+$")
"""What ONNX Runtime puts before and behind the name of a node that it made of others."""
US_PER_MS = 1000.0
BYTES = ("uint8", "int8")


@dataclass(frozen=True)
class NodeTime:
    """One node of a network, or what its runtime made of several.

    `op`: the operators that ran. `int8`: its data came in as bytes; None where that is not told.
    """

    name: str
    ms: float
    op: str = ""
    int8: bool | None = None


def node_times(load: Callable[[str], Any], x: NDArray[np.float32], calls: int) -> list[NodeTime]:
    """Least milliseconds of each node over some calls on `x`; `load`: a session whose profiler writes files so called.

    The least, since a call that something interrupts loses the time in one node or between them, not in all alike.

    Nodes with weights are named for their modules where ONNX Runtime's fusions leave their names, as in INT8. What
    lies between nodes is `between nodes`, the least of what each call takes beside its own nodes; the profiler's own
    cost is in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = load(str(Path(folder) / "profile"))
        name = session.get_inputs()[0].name
        for _ in range(calls):
            session.run(None, {name: x})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken: dict[str, list[float]] = {}
    beside: list[float] = []
    inside = 0.0
    about: dict[str, dict[str, Any]] = {}
    for event in events:  # a call's nodes, then the call
        if event.get("name") == "model_run":
            beside.append(event["dur"] - inside)
            inside = 0.0
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = event["name"].removesuffix("_kernel_time")
            taken.setdefault(node, []).append(event["dur"])
            inside += event["dur"]
            about[node] = event.get("args", {})
    found = _together({node: min(durations) / US_PER_MS for node, durations in taken.items()}, about)
    return [*found, NodeTime(BETWEEN, max(min(beside) / US_PER_MS, 0.0))]


def _together(least: dict[str, float], about: dict[str, dict[str, Any]]) -> list[NodeTime]:
    """Nodes under the names that they had in the file; several of one name count as one."""
    found: dict[str, NodeTime] = {}
    for node, ms in least.items():
        layer, op, int8 = APPENDED.sub("", node), str(about[node].get("op_name", "")), _takes_bytes(about[node])
        same = found.get(layer)
        if same is None:
            found[layer] = NodeTime(layer, ms, op, int8)
        else:
            found[layer] = NodeTime(layer, same.ms + ms, f"{same.op}+{op}".strip("+"), same.int8 and int8)
    return list(found.values())


def _takes_bytes(arguments: dict[str, Any]) -> bool | None:
    """Whether the first input's elements are bytes; the profiler lists `[{"uint8": [1, 3, 8, 8]}, ...]`."""
    inputs = arguments.get("input_type_shape")
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[0], dict):
        return None
    return next(iter(inputs[0]), "") in BYTES
