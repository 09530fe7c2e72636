"""2:4 through the whole chain on ResNet-50 and ViT-B/16: after QAT and export, every eligible layer in the file is 2:4.

    python benchmarks/patterns.py --json FILE
    python benchmarks/patterns.py --quick

Random weights and random images: the pattern does not depend on what a network has learned, and no accuracy is read
from this. The chain is the command line's, for a TensorRT target: masks, fine-tuning, training in INT8, export. What is
counted is read from the bundle's ONNX file: `2:4` are eligible layers whose INT8 codes are; `narrow` are those with 256
or fewer channels on a side, where a sparse kernel likely gains nothing. --quick runs both networks on small images.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from record import Show, arguments, finish

from edgeprune.exporting.patterns import find_patterns
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.pattern import parse_pattern

COMMAND = [sys.executable, "-m", "edgeprune"]
TARGET, PATTERN = "jetson-agx-orin", "2:4"
NETWORKS = {"resnet50": (224, 64), "vit_b_16": (224, 64)}
"""Side of the images, and with --quick."""
FILE = """\
import numpy as np

from edgeprune.model.networks.resnet import Bottleneck, ResNet
from edgeprune.model.networks.vit import VisionTransformer


def resnet50(num_classes):
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, 3)


def vit_b_16(num_classes):
    return VisionTransformer(16, 12, 768, 12, num_classes, 3, image_size={side})


def images():
    generator = np.random.default_rng(0)
    parts = []
    for count in (20, 8):
        parts.append((generator.integers(0, 256, (count, {side}, {side}, 3), dtype=np.uint8), np.arange(count) % 4))
    return tuple(parts)
"""
RECIPE = """\
schema = 1
target = "{target}"
method = "magnitude"
pattern = "{pattern}"
calibration_images = 8
golden_images = 2

[source]
model = "{file}:{network}"
data = "{file}:images"
image_size = {side}
augment = "none"
val_share = 0.2

[training]
epochs = 1
qat_epochs = 1
batch_size = 4
learning_rate = 1e-3
"""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="keep the run directories here")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    dense: list[dict[str, Any]] = []
    shows: list[Show] = []
    with tempfile.TemporaryDirectory() as temporary:
        for network, (side, small) in NETWORKS.items():
            found = chain(network, small if asked.quick else side, asked.runs or Path(temporary))
            reasons = found.pop("reasons")
            rows.append(found)
            dense.extend({"network": network, "stays dense": f"{name}: {why}"} for name, why in reasons)
            holds = found["2:4"] == found["eligible"] > 0 and found["eligible"] + found["dense"] == found["layers"]
            figure = f"{network}: {found['2:4']} of {found['eligible']}"
            shows.append(Show("architectures", 3, figure, "every eligible layer in the ONNX file is 2:4", holds))
    finish("2:4 after masked fine-tuning, QAT and export", [*rows, *dense], shows, asked.json)


def chain(network: str, side: int, folder: Path) -> dict[str, Any]:
    """Compress one network, and count from its bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    file, run = folder / f"{network}-{side}.py", folder / f"{network}-{side}"
    file.write_text(FILE.format(side=side), encoding="utf-8")
    recipe = file.with_suffix(".toml")
    text = RECIPE.format(target=TARGET, pattern=PATTERN, file=file.resolve(), network=network, side=side)
    recipe.write_text(text, encoding="utf-8")
    command = [*COMMAND, "compress", "--recipe", str(recipe), "-o", str(run), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    bundle = open_bundle(run / "bundle")
    found = find_patterns(onnx.load(bundle.model), parse_pattern(PATTERN))
    dense = {name.removesuffix(".weight"): why for name, why in bundle.manifest.dense_layers.items()}
    weights = sum(math.prod(row.shape) for row in found.values())
    return {
        "network": network,
        "image": side,
        "layers": len(found),
        "eligible": len(set(found) - set(dense)),
        "2:4": sum(row.integer and row.pattern == PATTERN for name, row in found.items() if name not in dense),
        "dense": len(set(found) & set(dense)),
        "narrow": len(json.loads(next(run.glob("stages/prune-*/cuts.json")).read_text(encoding="utf-8"))["narrow"]),
        "zeros": sum(row.zeros * math.prod(row.shape) for row in found.values()) / weights,
        "seconds": sum(json.loads((run / "result.json").read_text(encoding="utf-8"))["seconds"].values()),
        "reasons": sorted(dense.items()),
    }


if __name__ == "__main__":
    main()
