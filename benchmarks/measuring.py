"""Whether the stopwatch can be believed, and whether a budget in milliseconds is met: the claims about measuring.

    loop     p50 of `profile` against a bare loop over session.run, and against ONNX Runtime's own account of its runs
    pairs    --against itself, and against a network with a tenth more layers, ten times each
    budget   ResNet-18 at 224 compressed for half of its milliseconds, and for half of its multiply-adds

Everything that is compared is run in turn, with one thread. Weights are random: what a network takes does not depend on
them. Other processes may have the processor meanwhile, and each row tells the load: a call of half a millisecond mostly
fits between two of their turns, one of twenty does not. So stopwatches and pairs are compared on small networks, and
the budget's ResNet-18 by the processor time of the calling thread, which does not count the waiting; its time by the
clock is told beside it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from measuring_budget import TARGET, THREADS, budget
from record import Show, arguments, known_rows, save
from torch import nn

import edgeprune
from edgeprune.engine.ort import load_session, open_model
from edgeprune.measure.latency import measure_latency
from edgeprune.measure.paired import measure_paired
from edgeprune.measure.probe import probe
from edgeprune.measure.subject import open_subject
from edgeprune.model.networks import NETWORKS

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
REPEATS, RUNS = 5, 10
SMALL = 32


def exported(module: nn.Module, shape: tuple[int, ...], folder: Path) -> Path:
    """An INT8 bundle of a network, ranges from noise."""
    x = torch.randn(16, *shape)
    network = edgeprune.quantize(module.eval(), x[:1], [x], target=TARGET)
    edgeprune.export(network, x[:4], folder, target=TARGET, labels=("a", "b"), **IMAGENET)
    return folder


def stack(layers: int) -> nn.Module:
    """Equal convolutions, so that a tenth more of them is a tenth more work."""
    torch.manual_seed(0)
    steps: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(layers):
        steps += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))


def bare_p50(path: Path, x: np.ndarray, seconds: float) -> float:
    """What anyone would write: warm up for a while, then call and look at the clock."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        session.run(None, feed)
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter_ns()
        session.run(None, feed)
        taken.append(time.perf_counter_ns() - begun)
    return float(np.median(taken)) / 1e6


def own_p50(path: Path, x: np.ndarray, seconds: float) -> float:
    """ONNX Runtime's own durations of its runs, by its profiler."""
    with tempfile.TemporaryDirectory() as folder:
        session = load_session(path, THREADS, profile=str(Path(folder) / "p"))
        feed = {session.get_inputs()[0].name: x}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs = [event["dur"] for event in events if event.get("name") == "model_run"]
    return float(np.median(runs[len(runs) // 5 :])) / 1e3


def same_calls(path: Path, x: np.ndarray, seconds: float) -> float:
    """Our median over the runtime's own, of the very same calls: what separates two sessions is no part of it."""
    with tempfile.TemporaryDirectory() as folder:
        session = load_session(path, THREADS, profile=str(Path(folder) / "p"))
        watched = replace(open_model(path, THREADS), session=session)
        calls = measure_latency(watched, x, seconds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs = [event["dur"] for event in events if event.get("name") == "model_run"]
    return calls.latency().p50 / (float(np.median(runs[-len(calls.starts) :])) / 1e3)


def loop(work: Path, quick: bool) -> tuple[list[dict[str, Any]], list[Show]]:
    """Medians of the same model by three stopwatches, in turn; and what the loop costs by itself."""
    model = exported(NETWORKS["resnet20"].build(2, 3), (3, SMALL, SMALL), work / "loop") / "model.onnx"
    x = np.random.default_rng(0).normal(size=(1, 3, SMALL, SMALL)).astype(np.float32)
    seconds, slices = (0.5, 3) if quick else (1.0, 9)
    ways: dict[str, Callable[[], float]] = {
        "profile": lambda: measure_latency(open_model(model, THREADS), x, seconds).latency().p50,
        "bare": lambda: bare_p50(model, x, seconds),
        "own": lambda: own_p50(model, x, seconds),
    }
    rows = []
    for repeat in range(REPEATS):
        found: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(slices):
            names = list(ways)[turn % 3 :] + list(ways)[: turn % 3]
            for name in names:
                found[name].append(ways[name]())
        p50 = {name: float(np.median(values)) for name, values in found.items()}
        same = same_calls(model, x, seconds)
        figures = {f"{name}_p50_ms": value for name, value in p50.items()}
        rows.append({"part": "loop", "run": repeat, **figures, "same_calls": same, "load": os.getloadavg()[0]})
        print(rows[-1], flush=True)
    bare = float(np.median([row["profile_p50_ms"] / row["bare_p50_ms"] for row in rows]))
    own = float(np.median([row["profile_p50_ms"] / row["own_p50_ms"] for row in rows]))
    same = float(np.median([row["same_calls"] for row in rows]))
    overhead = _overhead()
    rows.append({"part": "loop", "run": "overhead of a call's timing over a call of 1 ms", "overhead": overhead})
    return rows, [
        Show("loop over bare loop", 1, bare, "within 3 % of 1, median of 5", abs(bare - 1) <= 0.03),
        Show("loop over the runtime's own", 1, own, "within 3 % of 1, median of 5", abs(own - 1) <= 0.03),
        Show("the same calls by both", 1, same, "within 3 % of 1, median of 5", abs(same - 1) <= 0.03),
        Show("cost of timing a 1 ms call", 1, overhead, "below 0.01", overhead < 0.01),
    ]


def _overhead() -> float:
    """What the loop spends beside the calls, as a share of a millisecond: calls that do nothing are all loop."""

    class Nothing:
        runtime, threads, simulated = "none", 1, False

        def run(self, x: np.ndarray) -> np.ndarray:
            return x

    calls = measure_latency(Nothing(), np.zeros((1, 1), np.float32), 1.0)  # type: ignore[arg-type]
    return float((calls.end - calls.begin) / len(calls.starts) * 1000)


def pairs(work: Path, quick: bool, known: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Show]]:
    """How often the interval holds 1 for a network against itself, and misses it for one with a tenth more work."""
    shape = (3, 14, 14)
    one, more = (exported(stack(count), shape, work / f"stack-{count}") for count in (20, 22))
    rows = [row for row in known if row.get("part") == "pairs"]
    seconds = 2.0 if quick else 8.0
    for run in range(len(rows) // 2, 3 if quick else RUNS):
        for name, other in (("itself", one), ("a tenth more", more)):
            found = compared(other, one, seconds)
            rows.append({"part": "pairs", "run": run, "against": name, **found, "load": os.getloadavg()[0]})
            print(rows[-1], flush=True)
    held = [row["low"] <= 1 <= row["high"] for row in rows if row["against"] == "itself"]
    seen = [row["low"] > 1 for row in rows if row["against"] == "a tenth more"]
    return rows, [
        Show(
            "against itself: intervals that hold 1",
            2,
            f"{sum(held)} of {len(held)}",
            "9 of 10",
            sum(held) >= 0.9 * len(held),
        ),
        Show("a tenth more: seen as slower", 2, f"{sum(seen)} of {len(seen)}", "9 of 10", sum(seen) >= 0.9 * len(seen)),
    ]


def compared(first: Path, second: Path, seconds: float) -> dict[str, float]:
    """What `profile FIRST --against SECOND` does for its ratio."""
    one, other = (open_subject(path, probe(), THREADS, None) for path in (first, second))
    found = measure_paired(one.again, other.again, (one.input(1), other.input(1)), seconds)
    ratio = found.ratio()
    assert ratio.ci is not None
    return {"ratio": ratio.value, "low": ratio.ci[0], "high": ratio.ci[1], "loads": len(found.ratios)}


def main() -> None:
    """Run the parts that are asked for, all by default; the record is written after each."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="keep networks and tables here, and go on from them"
    )
    parser.add_argument("parts", nargs="*", default=["loop", "pairs", "budget"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = known_rows(asked)
    shows: list[Show] = []
    if asked.json is not None and asked.json.is_file() and not asked.quick:
        shows = [Show(**show) for show in json.loads(asked.json.read_text(encoding="utf-8"))["shows"]]
    with tempfile.TemporaryDirectory() as folder:
        for part in asked.parts:
            work = (asked.work or Path(folder)) / part
            work.mkdir(parents=True, exist_ok=True)
            print(part, flush=True)
            known = rows if part == "pairs" else []
            more, decided = (
                pairs(work, asked.quick, known)
                if part == "pairs"
                else {"loop": loop, "budget": budget}[part](work, asked.quick)
            )
            rows = [row for row in rows if row.get("part") != part] + more
            topics = {show.topic for show in decided}
            shows = [show for show in shows if show.topic not in topics] + decided
            if asked.json is not None:
                save(TITLE, rows, shows, asked.json)
            for show in decided:
                print(show)
    sys.exit(0 if all(show.holds for show in shows) else 1)


TITLE = "measuring: the stopwatch, pairs, and a budget in milliseconds; on a virtual machine that others used meanwhile"

if __name__ == "__main__":
    main()
