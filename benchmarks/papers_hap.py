"""HAP (arXiv 2101.08940) and EHAP (arXiv 2306.07030), table VIII: CIFAR-10, 10 % of the parameters left.

Group and union coupling, curvature in single and in half precision, then INT8. Settings of EHAP's table VIII: 512
images, 300 probes, widths of any number, SGD with batches of 128, learning rate 0.01, weight decay 1e-3, plain
cross-entropy, 300 and 200 epochs; INT8 for 30 and 20. The dense weights are fine-tuned first where they come from other
images. `--quick`: ResNet-32, 24 probes, 2 epochs each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from record import Show

POINTS = {"resnet32": (93.83, 88.47, 88.89), "resnet56": (94.32, 90.47, 89.83)}
"""Accuracies of the paper (lossless images): dense, pruned by HAP, by EHAP."""
LEFT = 0.1


@dataclass(frozen=True)
class Settings:
    """Epochs of each training, and probes."""

    dense: int
    tuning: int
    int8: int
    probes: int


FULL = {"resnet32": Settings(60, 300, 30, 300), "resnet56": Settings(60, 200, 20, 300)}
QUICK = {"resnet32": Settings(2, 2, 1, 24)}


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    found = []
    for name, settings in (QUICK if asked.quick else FULL).items():
        if getattr(asked, name) is None:
            sys.exit(f"--{name} is needed")
        with tempfile.TemporaryDirectory() as folder:
            dense = _dense(name, getattr(asked, name), asked.data, settings, Path(folder))
            for coupling in ("group", "union"):
                for precision in ("fp32", "half"):
                    found.append(_row(name, dense, asked.data, settings, coupling, precision, Path(folder)))
                    print(found[-1], file=sys.stderr)
    return found, [] if asked.quick else _shows(found)


def _recipe(data: Path, model: str, **more: Any) -> dict[str, Any]:
    return {"schema": 1, "source": {"model": model, "data": str(data.resolve())}, "target": "cpu-x86-avx2"} | more


def _run(command: str, recipe: dict[str, Any], run: Path) -> Any:
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_suffix(".toml")
    file.write_text(tomli_w.dumps(recipe), encoding="utf-8")
    words = [sys.executable, "-m", "edgeprune", command, "--recipe", str(file), "-o", str(run), "--json"]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _dense(name: str, weights: Path, data: Path, settings: Settings, folder: Path) -> Path:
    """Fine-tune the dense network on these images; a cut of nothing to speak of is the cheapest way to its stage."""
    training = {"dense_epochs": settings.dense, "dense_learning_rate": 0.02, "epochs": 0, "weight_decay": 1e-3}
    recipe = _recipe(data, name, method="magnitude", training=training, budget={"sparsity": 0.01}, precision="fp32")
    recipe["source"]["weights"] = str(weights.resolve())
    _run("prune", recipe, folder / "dense")
    (network,) = (folder / "dense").glob("stages/dense-*/network.pt2")
    return network


def _row(
    name: str, dense: Path, data: Path, settings: Settings, coupling: str, precision: str, folder: Path
) -> dict[str, Any]:
    training = {
        "epochs": settings.tuning,
        "qat_epochs": settings.int8,
        "learning_rate": 0.01,
        "weight_decay": 1e-3,
        "distill": 0.0,
    }
    recipe = _recipe(
        data,
        str(dense),
        coupling=coupling,
        budget={"params": LEFT},
        training=training,
        curvature={"images": 512, "batch_size": 512, "probes": settings.probes, "precision": precision, "settled": 1.0},
        layers=[{"pattern": "*", "multiple": 1}],
    )
    result = _run("compress", recipe, folder / f"{name}-{coupling}-{precision}")
    paper = POINTS[name]
    return {
        "network": name,
        "coupling": coupling,
        "curvature": precision,
        "params": result["pruned"]["params"] / result["dense"]["params"],
        "MACs": result["pruned"]["macs"] / result["dense"]["macs"],
        "dense %": 100 * result["dense"]["accuracy"],
        "pruned %": 100 * result["pruned"]["accuracy"],
        "INT8 %": 100 * result["final"]["accuracy"],
        "se": 100 * result["final"]["accuracy_se"],
        "paper dense %": paper[0],
        "paper pruned %": paper[2 if precision == "half" else 1],
        "curvature s": result["seconds"]["curvature"],
    }


def _shows(rows: list[dict[str, Any]]) -> list[Show]:
    """Of the setting that is the default, not of the best of four."""
    (row,) = [r for r in rows if (r["network"], r["coupling"], r["curvature"]) == ("resnet56", "group", "fp32")]
    lost = row["pruned %"] - row["INT8 %"]
    return [
        Show("curvature", 5, row["pruned %"], "above 90.47 %", row["pruned %"] > POINTS["resnet56"][1]),
        Show("curvature", 5, lost, "at most 0.3 points lost in INT8", lost <= 0.3),
    ]
