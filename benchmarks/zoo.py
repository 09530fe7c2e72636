"""Channel pruning of many architectures to half the multiply-adds, by edgeprune and by Torch-Pruning.

    pip install -e '.[host]' timm torchvision transformers torch-pruning
    OMP_NUM_THREADS=1 python benchmarks/zoo.py [--quick] [--json FILE] [--runs FOLDER] [--jobs 2]

zoo.toml lists the networks; their weights are random, their norms moved off the identity, and nothing is downloaded.
Each network runs under each tool in a process of its own with a time limit. Its findings stay in FOLDER, so that a run
that was stopped goes on; --fresh starts anew, --again repeats what failed, --only takes those with a word in the name.
Where torchvision's wheel is a CUDA build, install with --no-deps beside torch for CPUs.

A network passes if it is exported with a dynamic batch, cut by at least 30 % of its multiply-adds (half are asked
for), proven equal to the masked one, written as ONNX, and ONNX Runtime agrees. Torch-Pruning passes if it ran, its
network runs, has lost as much, and becomes ONNX; whether it computes what it should is not asked.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import time
from argparse import Namespace
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zoo_edgeprune
import zoo_peer
from record import Show, arguments, finish
from zoo_networks import import_for, references
from zoo_step import Log, memory_mib

TOOLS: dict[str, Callable[[str, Log], None]] = {
    "edgeprune": zoo_edgeprune.measure,
    "torch-pruning": zoo_peer.measure,
}
LIMIT_S = 900
"""Of processor time, so that a busy machine fails nobody; ten times as long by the clock."""
DID_NOT_RUN = "did not run"
LEAST_REMOVED = 0.3
AGREES = 1e-3
"""Relative L2 of ONNX Runtime's outputs to torch's in float64; as `exporting.check` asks of a bundle."""
STEEPEST = 1.25
LARGE, LARGE_S = 2000, 120


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"), help="findings, one file each")
    parser.add_argument("--jobs", type=int, choices=[1, 2], default=1, help="networks at a time")
    parser.add_argument("--fresh", action="store_true", help="forget the findings of an earlier run")
    parser.add_argument("--again", action="store_true", help="repeat what failed")
    parser.add_argument("--only", default="", help="a word that the names must hold")
    parser.add_argument("--tool", choices=list(TOOLS), action="append", help="only this tool")
    parser.add_argument("--limit", type=int, default=LIMIT_S, help="processor seconds for one network")
    asked = parser.parse_args()
    names = [name for name in references(asked.quick) if asked.only in name]
    tools = asked.tool or list(TOOLS)
    import_for(names, *(["torch_pruning"] if "torch-pruning" in tools else []))
    torch.set_num_threads(1)  # before any process is forked
    if asked.fresh:
        shutil.rmtree(asked.runs, ignore_errors=True)
    _run_all([(tool, name) for name in names for tool in tools], asked)
    rows = [_row(name, *(_read(asked.runs, tool, name) for tool in TOOLS)) for name in names]
    for row in rows:
        for tool, known in row["found"].items():
            if fault := _fault(tool, known):
                print(f"{row['network']}: {tool}: {fault}")
    finish("zoo", rows, [] if asked.quick or asked.only else _shows(rows), asked.json)


def _file(runs: Path, tool: str, name: str) -> Path:
    return runs / tool / f"{name.replace(':', '_')}.json"


def _read(runs: Path, tool: str, name: str) -> dict[str, Any]:
    file = _file(runs, tool, name)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"error": DID_NOT_RUN}


def _run_all(work: list[tuple[str, str]], asked: Namespace) -> None:
    """Fill the file of each network under each tool, unless an earlier run has."""
    fork = multiprocessing.get_context("fork")  # the packages are imported once, by this process
    waiting = [one for one in work if _is_open(*one, asked)]
    running: dict[BaseProcess, tuple[str, str, float]] = {}
    while waiting or running:
        while waiting and len(running) < asked.jobs:
            tool, name = waiting.pop(0)
            file = _file(asked.runs, tool, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            child = fork.Process(target=_child, args=(tool, name, file, asked.limit))
            child.start()
            running[child] = (tool, name, time.monotonic() + 10 * asked.limit)
        wait([child.sentinel for child in running], timeout=1)
        for child, (tool, name, end) in list(running.items()):
            late = time.monotonic() > end
            if child.is_alive() and not late:
                continue
            child.kill()
            child.join()
            if late or child.exitcode:
                known = _read(asked.runs, tool, name)
                slow = late or child.exitcode == -signal.SIGXCPU
                reason = f"more than {asked.limit} s" if slow else f"the process ended with code {child.exitcode}"
                Log(_file(asked.runs, tool, name), known).note(error=f"{known.get('step')}: {reason}")
            del running[child]
            print(f"{tool} {name}: {_fault(tool, _read(asked.runs, tool, name)) or 'passes'}", flush=True)


def _is_open(tool: str, name: str, asked: Namespace) -> bool:
    known = _read(asked.runs, tool, name)
    over = "peak_mib" in known or ("error" in known and "tool" in known)
    return not over or (asked.again and bool(_fault(tool, known)))


def _child(tool: str, name: str, file: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    log = Log(file)
    log.note(name=name, tool=tool, step="build")
    try:
        TOOLS[tool](name, log)
        log.note(step="done")
    except Exception as error:  # a finding like any other
        text = (str(error).strip().splitlines() or [""])[0]
        log.note(error=f"{log.known['step']}: {type(error).__name__}: {text}"[:400])
    log.note(peak_mib=round(memory_mib()))
    os._exit(0)  # what the parent had open is the parent's to close


def _fault(tool: str, known: dict[str, Any]) -> str:
    """Why a network does not pass, or nothing."""
    if "error" in known:
        return str(known["error"])
    if known["step"] != "done":
        return f"{known['step']}: did not finish"
    if known["macs"] > 1 - LEAST_REMOVED:
        return f"budget: {known['macs']:.3f} of the multiply-adds are left"
    if tool == "edgeprune" and not known["onnx_l2"] <= AGREES:
        return f"ONNX Runtime: differs by {known['onnx_l2']:.1e}"
    return ""


def _row(name: str, ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """One line of the table; the whole findings go into the record beside it."""
    known = ours.get
    cuts = [ours[step] for step in ("grouping_cpu_s", "compaction_cpu_s") if step in ours]
    fault, other = _fault("edgeprune", ours), _fault("torch-pruning", peer)
    return {
        "network": name.replace("ForImageClassification", ""),
        "nodes": known("nodes"),
        "free %": round(100 * known("free", 0.0)) if "free" in ours else None,
        "groups": known("groups"),
        "approx.": known("approximate"),
        "MACs": _round(known("macs")),
        "float32": _power(known("float32")),
        "float64": _power(known("float64")),
        "ONNX": _power(known("onnx_l2")),
        "cut s": _round(sum(cuts)) if len(cuts) == 2 else None,
        "cut MiB": max((known("grouping_mib", 0.0), known("compaction_mib", 0.0))) if len(cuts) == 2 else None,
        "edgeprune": fault.partition(":")[0] or "passes",
        "MACs there": _round(peer.get("macs")),
        "Torch-Pruning": other.partition(":")[0] or "passes",
        "found": {"edgeprune": ours, "torch-pruning": peer},
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _power(value: float | None) -> str | None:
    return None if value is None else f"{value:.0e}"


def _shows(rows: list[dict[str, Any]]) -> list[Show]:
    passed, other = (sum(row[tool] == "passes" for row in rows) for tool in ("edgeprune", "Torch-Pruning"))
    cut = [row for row in rows if row["cut s"] is not None]
    seconds, memory = (_exponent(cut, column) for column in ("cut s", "cut MiB"))
    slowest = max((row["cut s"] for row in cut if row["nodes"] > LARGE), default=math.inf)
    topic = "architectures"
    ran = sum(row["found"]["torch-pruning"].get("error") != DID_NOT_RUN for row in rows)
    many = f">= 95 % of >= 80 (Torch-Pruning: {other} of the {ran} that it was run on)"
    return [
        Show(topic, 1, f"{passed} of {len(rows)}", many, len(rows) >= 80 and passed >= 0.95 * len(rows)),
        Show(topic, 2, seconds, f"seconds ~ nodes^k, k <= {STEEPEST}", seconds <= STEEPEST),
        Show(topic, 2, memory, f"peak memory ~ nodes^k, k <= {STEEPEST}", memory <= STEEPEST),
        Show(topic, 2, slowest, f"<= {LARGE_S} s for the largest, over {LARGE} nodes", slowest <= LARGE_S),
    ]


def _exponent(rows: list[dict[str, Any]], column: str) -> float:
    """Slope of a quantity against the number of nodes, both in logarithms."""
    points = [(math.log(row["nodes"]), math.log(max(row[column], 1e-3))) for row in rows]
    return float(np.polyfit(*zip(*points, strict=True), 1)[0]) if len(points) > 2 else math.inf


if __name__ == "__main__":
    main()
