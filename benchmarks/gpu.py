"""What a CUDA device is for: curvature at the papers' sizes, and pruning CIFAR-10 at the papers' settings.

    python benchmarks/gpu.py curvature [--quick] [--json FILE]
    python benchmarks/gpu.py methods --data CIFAR_FOLDER --weights FILE [--model resnet20] [--quick] [--json FILE]

Runs on the CPU too, where --quick takes small batches and few probes. Half-precision curvature, the other methods and
TensorRT engines join as they are built.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from record import arguments, finish

from edgeprune.curvature.trace import channel_traces
from edgeprune.model.device import move, pick_device
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import trace
from edgeprune.progress import silent
from edgeprune.pruning.plan import prunable

# EHAP (arXiv 2306.07030), Table VIII: Hessian batch, probes, fine-tuning epochs, learning rate, weight decay.
BATCH, PROBES, EPOCHS = 512, 300, 200


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("part", choices=["curvature", "methods"])
    parser.add_argument("--data", type=Path, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="resnet20")
    asked = parser.parse_args()
    if asked.part == "methods" and not (asked.data and asked.weights):
        parser.error("methods needs --data and --weights")
    rows = curvature(asked.quick) if asked.part == "curvature" else methods(asked)
    finish(f"gpu: {asked.part}", rows, [], asked.json)


def curvature(quick: bool) -> list[dict[str, Any]]:
    """Seconds and peak memory of HAP's traces; random weights and images, which cost what trained ones do."""
    device = pick_device("auto")
    rows = []
    for name in ("resnet20",) if quick else ("resnet32", "resnet56", "wrn-28-8"):
        batch, probes = (64, 4) if quick else (BATCH, PROBES)
        torch.manual_seed(0)
        traced = move(trace(NETWORKS[name].build(10, 3), (3, 32, 32)), device)
        x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
        weights = prunable(traced, ()).weights
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        channel_traces(traced, weights, x, y, probes, batch, 0, silent, lambda _: False)
        seconds = time.perf_counter() - begin
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
        on = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        rows.append(
            {
                "network": name,
                "device": on,
                "precision": "fp32",
                "images": batch,
                "probes": probes,
                "seconds": seconds,
                "GiB": peak,
            }
        )
    return rows


def methods(asked: Any) -> list[dict[str, Any]]:
    """Every method at half the MACs, in float, with the same fine-tuning."""
    rows = []
    epochs = 1 if asked.quick else EPOCHS
    for method in ("magnitude", "hap"):
        with tempfile.TemporaryDirectory() as folder:
            options = [asked.model, "--data", str(asked.data), "--weights", str(asked.weights), "--method", method]
            options += [
                "--macs",
                "0.5",
                "--epochs",
                str(epochs),
                "--fp32",
                "--target",
                "cpu-x86-avx2",
                "-o",
                folder + "/run",
            ]
            command = [sys.executable, "-m", "edgeprune", "compress", *options, "--json"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(done.stdout)
        rows.append(
            {
                "method": method,
                "epochs": epochs,
                "dense %": 100 * result["dense"]["accuracy"],
                "pruned %": 100 * result["pruned"]["accuracy"],
                "se": 100 * result["pruned"]["accuracy_se"],
                "MACs": result["pruned"]["macs"] / result["dense"]["macs"],
                "finetune s": result["seconds"]["finetune"],
            }
        )
    return rows


if __name__ == "__main__":
    main()
