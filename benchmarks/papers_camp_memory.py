"""The memory of a cycle of CAMP-HiVe with 10 eigenpairs, beside that of a training step, in copies of the weights.

ResNet-18 (11 M weights) on images of 32 x 32 pixels and batches of 32; each peak is a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from typing import Any

import torch
from record import Show

from edgeprune.curvature.probing import Probing
from edgeprune.merging.cycle import Merging, curve, one_cycle
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.reconstruction.cascade import Walking

CLASSES, BATCH, EIGENPAIRS, BESIDE = 10, 32, 10, 6
WAYS = ("training step", "cycle, lowrank+fisher, joint on layers", "cycle, lowrank+fisher, joint on the loss")


def rows(_asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    found = []
    for way in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(_row, (way,)))
    step = found[0]["GB more"]
    for row in found:
        row["copies beyond a training step"] = (row["GB more"] - step) / row["GB of weights"]
    most = max(row["copies beyond a training step"] for row in found[1:])
    bar = f"copies of the weights: at most {EIGENPAIRS + BESIDE}"
    return found, [Show("camp-hive", 5, most, bar, most <= EIGENPAIRS + BESIDE)]


def _row(way: str) -> dict[str, Any]:
    torch.manual_seed(0)
    traced = trace(NETWORKS["resnet18"].build(CLASSES, 3).eval(), (3, 32, 32))
    x, y = torch.randn(2 * BATCH, 3, 32, 32), torch.randint(0, CLASSES, (2 * BATCH,))
    weights = sum(parameter.numel() for parameter in traced.module.parameters())
    traced.module(x[:8])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == WAYS[0]:
        _step(traced, x[:BATCH], y[:BATCH])
    else:
        _cycle(traced, x, y, "loss" if "loss" in way.rpartition(",")[2] else "layers")
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"way": way, "GB more": more * 1024 / 1e9, "GB of weights": 4 * weights / 1e9}


def _step(traced: Traced, x: torch.Tensor, y: torch.Tensor) -> None:
    for parameter in traced.module.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(traced.module.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(traced.module(x), y).backward()
        optimizer.step()


def _cycle(traced: Traced, x: torch.Tensor, y: torch.Tensor, on: str) -> None:
    asked = Merging(
        score="lowrank+fisher",
        on=on,
        eigenpairs=EIGENPAIRS,
        probing=Probing(batch_size=BATCH),
        walking=Walking(batch_size=BATCH),
    )
    names = [name for name, parameter in traced.module.named_parameters() if parameter.dim() > 1]
    masks = {n: torch.ones(traced.module.get_parameter(n).shape, dtype=torch.bool) for n in names}
    curved = curve(traced, masks, x, y, asked)
    one_cycle(traced, traced, masks, 0.5, x, y, asked, curved)
