"""ResNet-18 at 224 compressed for half of its milliseconds, beside half of its multiply-adds: a part of `measuring`.

Half of the milliseconds is asked for with the network's own table of layers; what that predicts is compared with what
is measured. A call takes tens of milliseconds, which no other process lets pass undisturbed, so networks are compared
by the processor time of the thread that runs them; the time by the clock is told beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import Show
from safetensors.torch import save_file

from edgeprune.engine.ort import open_model
from edgeprune.measure.profile import Wishes, profile_bundle
from edgeprune.model.networks import NETWORKS
from edgeprune.spec.profile import Profile
from edgeprune.spec.strict import read_json

TARGET, THREADS = "cpu-x86-vnni", 1
REPEATS = 5
SIDE = 224
BLOCK, BLOCKS = 3, 25
EDGEPRUNE = [sys.executable, "-m", "edgeprune"]


def photographs(folder: Path) -> Path:
    """Noise, as a data set of two classes at 224: accuracy is not the matter here."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 8)):
        for name in ("a", "b"):
            inside = folder / part / name
            inside.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(inside / f"{i}.png")
    return folder


def compress(work: Path, name: str, *budget: str) -> dict[str, Any]:
    """Run the command without training, and return its result."""
    fixed = ["--weights", str(work / "r18.safetensors"), "--data", str(work / "photos"), "--image-size", str(SIDE)]
    fixed += [
        "--target",
        TARGET,
        "--method",
        "magnitude",
        "--allocation",
        "scores",
        "--epochs",
        "0",
        "--qat-epochs",
        "0",
    ]
    command = [*EDGEPRUNE, "compress", "resnet18", *fixed, *budget, "-o", str(work / name), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def in_turn(models: dict[str, Path], x: np.ndarray, blocks: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each network by the clock, and by the processor time of the thread that runs it."""
    runners = {name: open_model(path, THREADS) for name, path in models.items()}
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in models}
    for _ in range(blocks):
        for name, runner in runners.items():
            runner.run(x)
            for _ in range(BLOCK):
                clock, processor = time.perf_counter_ns(), time.thread_time_ns()
                runner.run(x)
                taken[name].append((time.perf_counter_ns() - clock, time.thread_time_ns() - processor))
    medians = {name: np.median(np.array(calls), axis=0) / 1e6 for name, calls in taken.items()}
    return {name: (float(both[0]), float(both[1])) for name, both in medians.items()}


def whole_network(work: Path, quick: bool) -> tuple[Profile, Path]:
    """ResNet-18 left whole, and its profile with the table of its layers; once for a folder."""
    table = work / "whole.json"
    if not table.is_file():
        torch.manual_seed(0)
        save_file(NETWORKS["resnet18"].build(2, 3).state_dict(), str(work / "r18.safetensors"))
        photographs(work / "photos")
        compress(work, "whole", "--size-mb", "1000")  # within its limits, so it is left whole
        found = profile_bundle(work / "whole" / "bundle", 2.0 if quick else 10.0, THREADS, wishes=Wishes(layers=True))
        table.write_text(found.model_dump_json(by_alias=True), encoding="utf-8")
    return read_json(Profile, table), table


def budget(work: Path, quick: bool) -> tuple[list[dict[str, Any]], list[Show]]:
    """Half of the milliseconds, by the table and by multiply-adds, measured in turn with the whole network."""
    profile, table = whole_network(work, quick)
    whole = profile.latency_ms.p50
    by_table = compress(work, "by-table", "--latency-ms", f"{0.5 * whole:.4f}", "--latency-profile", str(table))
    by_macs = compress(work, "by-macs", "--macs", "0.5")
    predicted = by_table["budget"]["latency_ms"]["reached"] / whole
    models = {name: work / name / "bundle" / "model.onnx" for name in ("whole", "by-table", "by-macs")}
    x = np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    rows: list[dict[str, Any]] = []
    for repeat in range(REPEATS):
        found = in_turn(models, x, 5 if quick else BLOCKS)
        row = {"part": "budget", "run": repeat, "load": os.getloadavg()[0]}
        for name, (clock, processor) in found.items():
            row |= {f"{name}_p50_ms": clock, f"{name}_processor_ms": processor}
        rows.append(row)
        print(row, flush=True)
    ratios = {
        n: float(np.median([row[f"{n}_processor_ms"] / row["whole_processor_ms"] for row in rows])) for n in models
    }
    clocks = {n: float(np.median([row[f"{n}_p50_ms"] / row["whole_p50_ms"] for row in rows])) for n in models}
    for name, result in (("by-table", by_table), ("by-macs", by_macs)):
        share = result["final"]["macs"] / result["dense"]["macs"]
        told = predicted if name == "by-table" else None
        both = {"latency": ratios[name], "latency_by_the_clock": clocks[name]}
        rows.append({"part": "budget", "run": name, "macs": share, **both, "predicted": told})
    reached = ratios["by-table"]
    apart = reached / predicted - 1
    return rows, [
        Show("half of the milliseconds", 4, reached, "0.45 to 0.55 of the whole, measured", 0.45 <= reached <= 0.55),
        Show("predicted against measured", 4, apart, "within 0.1", abs(apart) <= 0.1),
        Show("half of the multiply-adds takes", 4, ratios["by-macs"], "told beside it", True),
    ]
