"""The profiles of this CPU that ship in profiles/: three networks at 224 as edgeprune exports them, and a layer table.

Weights are random, ranges come from noise: what a network takes does not depend on them. One thread. A machine that is
busy with other things is refused at the end: its figures are not the networks' alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import edgeprune
from edgeprune.measure.common_layers import measure_common
from edgeprune.measure.match import host_target
from edgeprune.measure.profile import profile_bundle
from edgeprune.measure.written import write_layer_costs, write_profile
from edgeprune.model.networks import NETWORKS

NAMES = ("resnet18", "resnet50", "mobilenet_v2")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIDE, CLASSES, THREADS = 224, 1000, 1
BUSY = 0.02


def bundle(name: str, folder: Path) -> Path:
    """The whole network in INT8, made once for a folder."""
    if not (folder / "manifest.json").is_file():
        torch.manual_seed(0)
        module, x = NETWORKS[name].build(CLASSES, 3).eval(), torch.randn(4, 3, SIDE, SIDE)
        network = edgeprune.quantize(module, x[:1], [x], target=host_target())
        labels = tuple(f"class {i}" for i in range(CLASSES))
        edgeprune.export(network, x[:2], folder, target=host_target(), labels=labels, **IMAGENET)
    return folder


def main() -> None:
    """Make the bundles, profile each, and measure the table; exit 1 where the machine was busy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, metavar="FOLDER", help="where the bundles are made and kept"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the profiles go")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--table", action="store_true", help="the table of common layers too")
    parser.add_argument("--only-bundles", action="store_true")
    asked = parser.parse_args()
    made = [bundle(name, asked.work / name) for name in NAMES]
    if asked.only_bundles:
        return
    waited = []
    for path in made:
        found = profile_bundle(path, asked.seconds, THREADS)
        conditions = found.machine.conditions
        share = conditions.waited_share if conditions is not None else None
        waited.append(share if share is not None else np.nan)
        print(f"{path.name}: p50 {found.latency_ms.p50:.3f} ms, waited {waited[-1]:.3f} of the time", flush=True)
        print(write_profile(found, asked.output), flush=True)
    if asked.table:
        print(write_layer_costs(measure_common("int8", THREADS), asked.output))
    sys.exit(0 if max(waited) < BUSY else 1)


if __name__ == "__main__":
    main()
