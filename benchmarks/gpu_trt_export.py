"""Bundles for `gpu.py trt`: networks of random weights, which cost what trained ones do.

Each in float, in INT8, in INT8 with 2:4 weights, and with half of the MACs cut and then in INT8. Quantizers are
calibrated on noise; nothing is trained, so no accuracy is claimed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgeprune
from edgeprune.model.networks import NETWORKS
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.spec.bundle import open_bundle

TARGET = "rtx-4090"
"""Its rules are those of every GPU here; engines are built with --any-device."""
VIT_TINY = partial(VisionTransformer, 16, 12, 192, 3)
"""DeiT's smallest (Touvron et al., 2021)."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES, IMAGES = 10, 8
ALL = ["resnet50", "resnet18", "mobilenet_v2", "vit_tiny"]


def write(folder: Path, networks: str, quick: bool) -> list[dict[str, Any]]:
    """Write every bundle that is not there yet; `networks`: some of them, joined by commas."""
    side = 64 if quick else 224
    names = networks.split(",") if networks else ["resnet18"] if quick else ALL
    rows = []
    for name in names:
        for variant in ("float", "int8", "int8-2to4", "pruned-int8"):
            path = folder / f"{name}-{variant}"
            begin = time.perf_counter()
            if not (path / "manifest.json").is_file():
                _bundle(name, variant, side, path)
            manifest = open_bundle(path).manifest
            rows.append({"network": name, "variant": variant, "MACs": manifest.macs, "params": manifest.params,
                         "seconds": time.perf_counter() - begin})  # fmt: skip
            print(rows[-1], file=sys.stderr)
    return rows


def _bundle(name: str, variant: str, side: int, path: Path) -> None:
    torch.manual_seed(0)
    build: Callable[[int, int], nn.Module] = VIT_TINY if name == "vit_tiny" else NETWORKS[name].build
    kept = {"image_size": side} if name == "vit_tiny" else {}
    module: nn.Module = build(CLASSES, 3, **kept).eval()
    x = torch.randn(IMAGES, 3, side, side)
    if variant == "pruned-int8":
        module = edgeprune.prune(module, x[:1], macs=0.5, method="magnitude", allocation="scores", target=TARGET)
    if variant == "int8-2to4":
        module = edgeprune.prune(module, x[:1], pattern="2:4", method="magnitude", target=TARGET)
    if variant != "float":
        module = edgeprune.quantize(module, x[:1], [x], target=TARGET)
    labels = [str(number) for number in range(CLASSES)]
    edgeprune.export(module, x, path, TARGET, labels=labels, mean=MEAN, std=STD)
