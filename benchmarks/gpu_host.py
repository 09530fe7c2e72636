"""The parts of gpu.py that compress: curvature, SNOWS, and whole chains."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch
from apart import rows_apart
from ranking import by_products, importance, scores, spearman
from record import Show, known_rows, save

from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.model.device import move, pick_device
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.progress import silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.patterns import n_of_m
from edgeprune.pruning.plan import prunable
from edgeprune.reconstruction.cascade import Walking
from edgeprune.reconstruction.snows import Snows, snows
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Source
from edgeprune.train.batch_norm import reestimate

# EHAP (arXiv 2306.07030), Table VIII: Hessian batch, probes, fine-tuning epochs, learning rate, weight decay.
BATCH, PROBES, EPOCHS = 512, 300, 200
CURVED = {
    "resnet56": (32, 512, PROBES), "resnet50": (224, 64, 60), "vit_b_16": (224, 64, 20), "wrn-28-8": (32, 512, 100),
    "resnet32": (32, 512, PROBES), "vit_l_16": (224, 64, 8),
}  # fmt: skip
"""Network: side, images at a time, probes from the side of the outputs; fewer where one takes a second or so."""
MEMORY_MB = 60_000
HALVED, QUICKER, LEANER, ALIKE = "resnet56", 1.5, 0.6, 0.99
"""The network that the claims are of: how much faster half precision is, its share of the memory, and how alike."""


METHODS = ("magnitude", "hap", "snows", "camp-hive", "amp-hasa")


def curvature(asked: Any) -> tuple[list[dict[str, Any]], list[Show]]:
    """Seconds and peak memory of traces, single against half precision, and how alike their orders are.

    Both ways (`curvature.trace`): from the side of the outputs, and by products with the Hessian. Random weights and
    images cost what trained ones do; the network named by `--model` has the weights and images that are given. torch's
    own single precision rounds what convolutions read to TF32; the first row of each way does not.
    """
    device = pick_device("auto")
    rows = known_rows(asked)
    end = time.monotonic() + 60 * asked.minutes
    for name, (side, size, probes) in CURVED.items():
        if any(row["network"] == name for row in rows) or (asked.quick and name != HALVED):
            continue
        if time.monotonic() > end:
            print(f"the time is over before {name}", file=sys.stderr)
            break
        batch, probes = (64, 4) if asked.quick else (BATCH, probes)
        traced, x, y = _network(asked, name, side, batch, device)
        weights = prunable(traced, ()).weights
        weight = importance(traced.module, weights)
        found: dict[str, torch.Tensor] = {}
        for way, how in (
            ("outputs", "fp32"), ("outputs", "TF32"), ("outputs", "half"), ("products", "fp32"), ("products", "half")
        ):  # fmt: skip
            torch.backends.cudnn.allow_tf32 = how == "TF32"
            probing = Probing(probes, size, 0, "hessian", "half" if how == "half" else "fp32", MEMORY_MB)
            row = {"network": name, "way": way, "precision": how, "images": batch, "at a time": size}
            row |= _timed(traced, weights, x, y, way, probing, device)
            samples = row.pop("samples")
            if samples is not None:
                found[f"{way} {how}"] = scores(samples, weight)
                row["Spearman with fp32"] = spearman(found[f"{way} {how}"], found[f"{way} fp32"])
            rows.append(row)
            print(row, file=sys.stderr)
        if asked.json is not None:
            save("gpu: curvature", rows, _halved(rows), asked.json)
    return rows, _halved(rows)


def _network(
    asked: Any, name: str, side: int, batch: int, device: torch.device
) -> tuple[Traced, torch.Tensor, torch.Tensor]:
    """Trained, with images, where they are given; else random, with BatchNorm as it is on noise."""
    torch.manual_seed(0)
    module = NETWORKS[name].build(10, 3)
    if asked.weights is not None and asked.data is not None and asked.model == name:
        load_weights(module, asked.weights, name)
        data = load_data(Source(model=name, data=str(asked.data)), side)
        x, y = sample(data.train, data.preprocessing, batch, 0)
        return move(trace(module.eval(), (3, side, side)), device), x, y
    x, y = torch.randn(batch, 3, side, side), torch.randint(0, 10, (batch,))
    traced = move(trace(module.eval(), (3, side, side)), device)
    return reestimate(traced, x[:64].split(32)), x, y


def _halved(rows: list[dict[str, Any]]) -> list[Show]:
    """What half precision saves; on a CUDA device only."""
    whole, half = (
        next((r for r in rows if (r["network"], r["way"], r["precision"]) == (HALVED, "outputs", how)), {})
        for how in ("fp32", "half")
    )
    if not whole.get("GiB") or not half.get("GiB"):
        return []
    faster, share = whole["seconds per probe"] / half["seconds per probe"], half["GiB"] / whole["GiB"]
    alike = half["Spearman with fp32"]
    return [
        Show("curvature", 3, faster, f"half precision at least {QUICKER} times faster", faster >= QUICKER),
        Show("curvature", 3, share, f"at most {LEANER} of the memory", share <= LEANER),
        Show("curvature", 3, alike, f"Spearman with fp32 at least {ALIKE}", alike >= ALIKE),
    ]


def _timed(
    traced: Traced,
    weights: dict[str, int],
    x: torch.Tensor,
    y: torch.Tensor,
    way: str,
    probing: Probing,
    device: torch.device,
) -> dict[str, Any]:
    """One estimate, after a short one that is not timed; products take a tenth of the probes."""
    probes = probing.probes if way == "outputs" else max(2, probing.probes // 10)

    def estimate(count: int) -> dict[str, torch.Tensor]:
        if way == "outputs":
            kind = replace(probing, kind="ggn", probes=count)  # of a transformer too; of a ResNet the two are the same
            return channel_traces(traced, weights, x, y, kind, silent).per_probe
        return by_products(Matrix(traced, [*weights], x, y, probing), weights, range(count), 0)

    seconds, peak, failed, samples = None, None, None, None
    try:
        estimate(1)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        begin = time.perf_counter()
        samples = estimate(probes)
        if device.type == "cuda":
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() / 2**30
        seconds = (time.perf_counter() - begin) / probes
    except torch.OutOfMemoryError as error:
        failed = str(error).splitlines()[0]
    on = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"probes": probes, "device": on, "seconds per probe": seconds, "GiB": peak, "failed": failed,
            "samples": samples}  # fmt: skip


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
    rows = known_rows(asked)
    missing = [method for method in METHODS if method not in [row["method"] for row in rows]]
    for row in rows_apart(functools.partial(_method, asked), missing, asked.jobs):
        rows.append(row)
        print(row, file=sys.stderr)
        if asked.json is not None:
            save("gpu: methods", rows, [], asked.json)
    return rows


def _method(asked: Any, method: str) -> dict[str, Any]:
    epochs = 1 if asked.quick else EPOCHS
    words = [asked.model, "--data", asked.data, "--weights", asked.weights, "--method", method]
    words += ["--macs", "0.5", "--epochs", epochs, "--fp32", "--target", "cpu-x86-avx2", "--json"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgeprune", "compress", *map(str, words), "-o", f"{folder}/run"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    return {
        "method": method,
        "epochs": epochs,
        "dense %": 100 * result["dense"]["accuracy"],
        "pruned %": 100 * result["pruned"]["accuracy"],
        "se": 100 * result["pruned"]["accuracy_se"],
        "MACs": result["pruned"]["macs"] / result["dense"]["macs"],
        "finetune s": result["seconds"]["finetune"],
    }
