"""EHAP (arXiv 2306.07030) on ResNet-20: channels cut by curvature in half precision, fine-tuned, trained in INT8.

    python benchmarks/ehap.py --data CIFAR_FOLDER --weights resnet20-cifar10-jpeg.safetensors
        [--qat-epochs N] [--quick] [--json FILE] [--runs FOLDER]

Half of the multiply-adds stay, 3 epochs of fine-tuning follow, then those in INT8; 3 seeds. Accuracies are of all test
images: the pruned float network's in torch, that of INT8 of the ONNX file that ships, in ONNX Runtime. INT8 ships
whether or not it was faster on the machine at that moment. Training goes on where it stopped. `--quick`: one seed, one
epoch each, on 2,000 images.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import tomli_w
from record import Show, arguments, finish, known_rows, save

SEEDS = 3
MOST_LOST = 0.3
QUICK_IMAGES = 200
"""Of each class."""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-20's")
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning")
    parser.add_argument("--qat-epochs", type=int, default=6, help="of training in INT8")
    parser.add_argument("--runs", type=Path, default=Path("runs/ehap"), help="run directories stay here")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.epochs, asked.qat_epochs = _fewer(asked.data, asked.runs / "images"), 1, 1
    rows = known_rows(asked)
    for seed in range(1 if asked.quick else SEEDS):
        if any(row["seed"] == seed for row in rows):
            continue
        rows.append(_row(seed, asked))
        print(rows[-1], file=sys.stderr, flush=True)
        if asked.json is not None and not asked.quick:
            save("ehap", rows, [], asked.json)
    finish("ehap", rows, [] if asked.quick else [_show(rows)], asked.json)


def _row(seed: int, asked: Namespace) -> dict[str, Any]:
    recipe = {
        "schema": 1,
        "source": {"model": "resnet20", "data": str(asked.data.resolve()), "weights": str(asked.weights.resolve())},
        "target": "cpu-x86-vnni",
        "method": "hap",
        "budget": {"macs": 0.5},
        "training": {"epochs": asked.epochs, "qat_epochs": asked.qat_epochs},
        "curvature": {"precision": "half"},
        "int8": {"anyway": True},
        "seed": seed,
    }
    run = asked.runs / f"seed-{seed}-{asked.epochs}-{asked.qat_epochs}"
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_suffix(".toml")
    file.write_text(tomli_w.dumps(recipe), encoding="utf-8")
    words = [sys.executable, "-m", "edgeprune", "compress", "--recipe", str(file), "-o", str(run), "--json"]
    result = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    dense, pruned, final = (result[name] for name in ("dense", "pruned", "final"))
    return {
        "seed": seed,
        "epochs": asked.epochs,
        "INT8 epochs": asked.qat_epochs,
        "MACs": pruned["macs"] / dense["macs"],
        "params": pruned["params"] / dense["params"],
        "INT8 share": final["int8_macs_share"],
        "dense %": 100 * dense["accuracy"],
        "pruned %": 100 * pruned["accuracy"],
        "INT8 %": 100 * final["accuracy"],
        "lost": 100 * (pruned["accuracy"] - final["accuracy"]),
        "se": 100 * final["accuracy_se"],
        "dense ms": dense["latency_ms_p50"],
        "pruned ms": pruned["latency_ms_p50"],
        "INT8 ms": final["latency_ms_p50"],
        "parity": {"notes": [note for note in result["notes"] if note.startswith("parity")]},
    }


def _fewer(data: Path, folder: Path) -> Path:
    """The first images of each class, copied."""
    for path in sorted(data.glob("*/*")):
        for image in sorted(path.iterdir())[:QUICK_IMAGES]:
            copy = folder / image.relative_to(data)
            if not copy.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image, copy)
    return folder


def _show(rows: list[dict[str, Any]]) -> Show:
    """Every seed decides, not the mean of them."""
    lost = max(row["lost"] for row in rows)
    return Show("INT8", 5, lost, f"at most {MOST_LOST} points lost in INT8, by every seed", lost <= MOST_LOST + 1e-9)


if __name__ == "__main__":
    main()
