"""The main job, as a user runs it: the built-in example, CIFAR-10 (JPEG) with ResNet-20, a Jetson bundle, `--help`.

    python benchmarks/main_job.py --quick
    python benchmarks/main_job.py --data CIFAR_FOLDER --weights resnet20-cifar10-jpeg.safetensors --json FILE

--quick runs the example, the Jetson bundle of it, and the start of the command line. CIFAR_FOLDER holds train/ and
test/ with class folders. Seconds are those of all stages as the runs record them, so that runs kept with --runs can be
gone on with, or shown again.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
from record import Show, arguments, finish

from edgeprune.exporting.lint import lint_tensorrt

COMMAND = [sys.executable, "-m", "edgeprune"]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path, help="ResNet-20's weights")
    parser.add_argument("--runs", type=Path, help="keep the run directories here")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    shows: list[Show] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.runs or Path(temporary)
        example(folder, rows, shows)
        if asked.data and asked.weights and not asked.quick:
            given = [
                "resnet20",
                "--weights",
                str(asked.weights),
                "--data",
                str(asked.data),
                "--macs",
                "0.5",
                "--epochs",
                "3",
            ]
            cifar(folder, given, rows, shows)
            jetson(folder, [*given[:-1], "1"], rows, shows)
        else:
            jetson(folder, ["--epochs", "1", "--dense-epochs", "2"], rows, shows)
    start(rows, shows)
    finish("main job", rows, shows, asked.json)


def compress(run: Path, *options: str) -> tuple[dict[str, Any], float]:
    """Run `edgeprune compress`; returns its result and the seconds that its stages took."""
    subprocess.run([*COMMAND, "compress", *options, "-o", str(run), "--json"], check=True, stdout=subprocess.DEVNULL)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result, sum(result["seconds"].values())


def row(name: str, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    dense, final = result["dense"], result["final"]
    latencies = (dense["latency_ms_p50"], final["latency_ms_p50"])
    return {
        "job": name,
        "target": result["target"],
        "seconds": seconds,
        "dense %": 100 * dense["accuracy"],
        "pruned %": 100 * result["pruned"]["accuracy"],
        "final %": 100 * final["accuracy"],
        "drop": 100 * (dense["accuracy"] - final["accuracy"]),
        "MACs": final["macs"] / dense["macs"],
        "bytes": final["onnx_bytes"] / dense["onnx_bytes"],
        "p50": latencies[1] / latencies[0] if all(latencies) else None,
        "INT8": final["int8_macs_share"],
    }


def example(folder: Path, rows: list[dict[str, Any]], shows: list[Show]) -> None:
    result, seconds = compress(folder / "example")
    found = row("example", result, seconds)
    rows.append(found)
    for name, bar, holds in (
        ("seconds", "<= 360 s on 2 cores", seconds <= 360),
        ("drop", "accuracy drop <= 1.0 point", found["drop"] <= 1.0),
        ("MACs", "final MACs <= 0.50 of dense", found["MACs"] <= 0.5),
        ("INT8", "INT8 share >= 0.95", found["INT8"] >= 0.95),
        ("p50", "p50 <= 0.5 of dense FP32", found["p50"] <= 0.5),
    ):
        shows.append(Show("main-job", 1, found[name], bar, holds))


def cifar(folder: Path, given: list[str], rows: list[dict[str, Any]], shows: list[Show]) -> None:
    result, seconds = compress(folder / "cifar", *given, "--target", "cpu-x86-vnni")
    found = row("cifar", result, seconds)
    rows.append(found)
    shows.append(Show("main-job", 2, found["drop"], "accuracy drop <= 2.0 points", found["drop"] <= 2.0))
    shows.append(Show("main-job", 2, seconds, "<= 2400 s on 2 cores", seconds <= 2400))


def jetson(folder: Path, given: list[str], rows: list[dict[str, Any]], shows: list[Show]) -> None:
    result, seconds = compress(folder / "jetson", *given, "--target", "jetson-orin-nano")
    rows.append(row("jetson", result, seconds))
    model = onnx.load(folder / "jetson" / "bundle" / "model.onnx")
    faults = lint_tensorrt(model, multiple=8, max_opset=20)
    shows.append(Show("main-job", 3, len(faults), "no broken rule of TensorRT", not faults))


def start(rows: list[dict[str, Any]], shows: list[Show]) -> None:
    """Time `edgeprune --help` beside a bare interpreter, in turn: the machine's share of it shows."""
    commands = {"--help": [*COMMAND, "--help"], "bare python": [sys.executable, "-c", "pass"]}
    wall: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(10):
        for name, command in commands.items():
            begin, busy = time.perf_counter(), _children_cpu_s()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(_children_cpu_s() - busy)
    rows += [
        {"job": name, "seconds": statistics.median(wall[name]), "CPU seconds": statistics.median(cpu[name])}
        for name in commands
    ]
    median = statistics.median(wall["--help"])
    shows.append(Show("main-job", 5, median, "<= 0.4 s", median <= 0.4))


def _children_cpu_s() -> float:
    """CPU seconds of the processes that ended: beside the wall clock, they tell a slow start from a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
