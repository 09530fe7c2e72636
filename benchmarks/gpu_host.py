"""The parts of gpu.py that compress: curvature, SNOWS, and whole chains."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch
from ranking import by_products, importance, scores, spearman

from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.device import move, pick_device
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.patterns import n_of_m
from edgeprune.pruning.plan import prunable
from edgeprune.reconstruction.cascade import Walking
from edgeprune.reconstruction.snows import Snows, snows
from edgeprune.spec.pattern import parse_pattern

# EHAP (arXiv 2306.07030), Table VIII: Hessian batch, probes, fine-tuning epochs, learning rate, weight decay.
BATCH, PROBES, EPOCHS = 512, 300, 200
NETWORKS_AND_SIDES = (
    ("resnet32", 32), ("resnet56", 32), ("wrn-28-8", 32), ("resnet50", 224), ("vit_b_16", 224), ("vit_l_16", 224),
)  # fmt: skip


def curvature(quick: bool) -> list[dict[str, Any]]:
    """Seconds and peak memory of traces, single against half precision, and how alike their orders are.

    Both ways (`curvature.trace`): from the side of the outputs, and by products with the Hessian. Random weights and
    images cost what trained ones do; the orders of random networks say how much half precision disturbs.
    """
    device = pick_device("auto")
    rows: list[dict[str, Any]] = []
    for name, side in (("resnet20", 32),) if quick else NETWORKS_AND_SIDES:
        batch, probes = (64, 4) if quick else (BATCH, PROBES)
        torch.manual_seed(0)
        traced = move(trace(NETWORKS[name].build(10, 3), (3, side, side)), device)
        x, y = torch.randn(batch, 3, side, side), torch.randint(0, 10, (batch,))
        weights = prunable(traced, ()).weights
        weight = importance(traced.module, weights)
        found: dict[str, torch.Tensor] = {}
        for way in ("outputs", "products"):
            for precision in ("fp32", "half"):
                row = _timed(traced, weights, x, y, way, Probing(probes, 128, 0, "hessian", precision, 20_000), device)
                samples = row.pop("samples")
                if samples is not None:
                    found[f"{way} {precision}"] = scores(samples, weight)
                    alike = spearman(found[f"{way} {precision}"], found[f"{way} fp32"])
                    row |= {"Spearman with fp32": alike}
                rows.append({"network": name, "way": way, "precision": precision, "images": batch, **row})
                print(rows[-1], file=sys.stderr)
    return rows


def _timed(
    traced: Traced,
    weights: dict[str, int],
    x: torch.Tensor,
    y: torch.Tensor,
    way: str,
    probing: Probing,
    device: torch.device,
) -> dict[str, Any]:
    """One estimate; products take a tenth of the probes, whose seconds are what counts."""
    probes = probing.probes if way == "outputs" else max(2, probing.probes // 10)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    begin = time.perf_counter()
    try:
        if way == "outputs":
            kind = replace(probing, kind="ggn")  # of a transformer too; of a ResNet the two are the same
            samples = channel_traces(traced, weights, x, y, kind, silent).per_probe
        else:
            samples = by_products(Matrix(traced, [*weights], x, y, probing), weights, range(probes), 0)
    except torch.OutOfMemoryError as error:
        return {"probes": probes, "seconds per probe": None, "failed": str(error).splitlines()[0], "samples": None}
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    on = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"probes": probes, "device": on, "seconds per probe": seconds / probes, "GiB": peak, "samples": samples}


def rebuilding(quick: bool) -> list[dict[str, Any]]:
    """Seconds and peak memory of SNOWS on single layers, against how far it looks ahead; 2:4 by magnitude.

    The first, the middle and the last layer that a mask may take, of random networks: they cost what trained ones do.
    """
    device = pick_device("auto")
    rows: list[dict[str, Any]] = []
    for name, side in (("resnet20", 32),) if quick else (("resnet50", 224), ("vit_b_16", 224)):
        torch.manual_seed(0)
        dense = move(trace(NETWORKS[name].build(10, 3), (3, side, side)), device)
        images, batch = (64, 32) if quick else (512, 64)
        x = torch.randn(images, 3, side, side)
        found = eligible(dense, parse_pattern("2:4"), None, ()).weights
        for weight in (found[0], found[len(found) // 2], found[-1]):
            w = dense.module.get_parameter(weight).detach().abs()
            masks = {weight: n_of_m(w, 2, 4)}
            for steps in (0, 3) if quick else (0, 3, 10, 30, 100):
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                student = Traced(copy.deepcopy(dense.module), dense.input_shape)
                (log,) = snows(student, dense, masks, x, Snows(steps=steps, walking=Walking(batch_size=batch)))
                peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
                row = {
                    "network": name,
                    "weight": weight,
                    "weights": w.numel(),
                    "K": steps,
                    "operations": log.operations,
                    "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
                    "images": images,
                    "seconds": log.seconds,
                    "iterations": sum(step["iterations"] for step in log.steps),
                    "loss left": log.best / log.masked,
                    "GiB": peak,
                }
                rows.append(row)
                print(row, file=sys.stderr)
    return rows


def methods(asked: Any) -> list[dict[str, Any]]:
    """Every method at half the MACs, in float, with the same fine-tuning."""
    rows = []
    epochs = 1 if asked.quick else EPOCHS
    for method in ("magnitude", "hap", "snows"):
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
