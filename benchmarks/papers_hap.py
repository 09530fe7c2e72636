"""HAP (arXiv 2101.08940) and EHAP (arXiv 2306.07030), table VIII: CIFAR-10, 10 % of the parameters left.

Group and union coupling, curvature in single and in half precision, then INT8. Settings of EHAP's table VIII: 512
images, 300 probes, widths of any number, SGD with batches of 128, learning rate 0.01, weight decay 1e-3, plain
cross-entropy, 300 and 200 epochs; INT8 for 30 and 20. The dense weights are fine-tuned first, since they come from
other images. A larger `--batch-size` raises the learning rates in proportion, for a device that is lent for minutes.
Rows that the record has already are not measured again. `--quick`: ResNet-32, 24 probes, 2 epochs each.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from apart import rows_apart
from record import Show, known_rows, save

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


FULL = {"resnet56": Settings(60, 200, 20, 300), "resnet32": Settings(60, 300, 30, 300)}
QUICK = {"resnet32": Settings(2, 2, 1, 24)}
WAYS = (("group", "fp32"), ("group", "half"), ("union", "fp32"), ("union", "half"))
BATCH = 128


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    found = known_rows(asked)
    done = [(row["network"], row["coupling"], row["curvature"]) for row in found]
    settings = {name: of for name, of in (QUICK if asked.quick else FULL).items() if getattr(asked, name) is not None}
    if not settings:
        sys.exit(f"--{' or --'.join(QUICK if asked.quick else FULL)} is needed")
    for name, of in settings.items():
        missing = [way for way in WAYS if (name, *way) not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            dense = _dense(name, getattr(asked, name), asked, of, Path(folder))
            measure = functools.partial(_row, name, dense, asked, of, Path(folder))
            for row in rows_apart(measure, missing, asked.jobs):
                found.append(row)
                print(row, file=sys.stderr)
                if asked.json:
                    save("papers: hap", found, _shows(found), asked.json)
    return found, [] if asked.quick else _shows(found)


def _recipe(asked: argparse.Namespace, model: str, training: dict[str, Any], **more: Any) -> dict[str, Any]:
    larger = asked.batch_size / BATCH
    rates = {name: rate * larger for name, rate in training.items() if name.endswith("learning_rate")}
    return {
        "schema": 1,
        "source": {"model": model, "data": str(asked.data.resolve())},
        "target": "cpu-x86-avx2",
        "device": asked.device,
        "training": training | rates | {"batch_size": asked.batch_size},
    } | more


def _run(command: str, recipe: dict[str, Any], run: Path) -> Any:
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_suffix(".toml")
    file.write_text(tomli_w.dumps(recipe), encoding="utf-8")
    words = [sys.executable, "-m", "edgeprune", command, "--recipe", str(file), "-o", str(run), "--json"]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _dense(name: str, weights: Path, asked: argparse.Namespace, settings: Settings, folder: Path) -> Path:
    """Fine-tune the dense network on these images; a cut of nothing to speak of is the cheapest way to its stage."""
    training = {"dense_epochs": settings.dense, "dense_learning_rate": 0.02, "epochs": 0, "weight_decay": 1e-3}
    recipe = _recipe(asked, name, training, method="magnitude", budget={"sparsity": 0.01}, precision="fp32")
    recipe["source"]["weights"] = str(weights.resolve())
    _run("prune", recipe, folder / "dense")
    (network,) = (folder / "dense").glob("stages/dense-*/network.pt2")
    return network


def _row(
    name: str, dense: Path, asked: argparse.Namespace, settings: Settings, folder: Path, way: tuple[str, str]
) -> dict[str, Any]:
    coupling, precision = way
    training = {
        "epochs": settings.tuning,
        "qat_epochs": settings.int8,
        "learning_rate": 0.01,
        "weight_decay": 1e-3,
        "distill": 0.0,
    }
    recipe = _recipe(
        asked,
        str(dense),
        training,
        coupling=coupling,
        budget={"params": LEFT},
        curvature={"images": 512, "batch_size": 512, "probes": settings.probes, "precision": precision, "settled": 1.0},
        layers=[{"pattern": "*", "multiple": 1}],
    )
    result = _run("compress", recipe, folder / f"{name}-{coupling}-{precision}")
    paper = POINTS[name]
    return {
        "network": name,
        "coupling": coupling,
        "curvature": precision,
        "batch": asked.batch_size,
        "params": result["pruned"]["params"] / result["dense"]["params"],
        "MACs": result["pruned"]["macs"] / result["dense"]["macs"],
        "dense %": 100 * result["dense"]["accuracy"],
        "pruned %": 100 * result["pruned"]["accuracy"],
        "INT8 %": 100 * result["final"]["accuracy"],
        "se": 100 * result["final"]["accuracy_se"],
        "paper dense %": paper[0],
        "paper pruned %": paper[2 if precision == "half" else 1],
        **{f"{part} s": result["seconds"][part] for part in ("curvature", "finetune")},
    }


def _shows(rows: list[dict[str, Any]]) -> list[Show]:
    """Of the setting that is the default, not of the best of four."""
    row = next((r for r in rows if (r["network"], r["coupling"], r["curvature"]) == ("resnet56", *WAYS[0])), None)
    if row is None:
        return []
    lost = row["pruned %"] - row["INT8 %"]
    return [
        Show("curvature", 5, row["pruned %"], "above 90.47 %", row["pruned %"] > POINTS["resnet56"][1]),
        Show("curvature", 5, lost, "at most 0.3 points lost in INT8", lost <= 0.3),
    ]
