"""CAMP-HiVe (arXiv 2511.06265): single weights in cycles, and channels, on CIFAR-10 networks.

Without training, and with the same 3 epochs in all for every method (CAMP-HiVe spends one of them between its cycles,
the others all three at the end). Baselines are cut once: magnitude, LAMP (arXiv 2010.07611), Optimal Brain Damage (the
Fisher information's diagonal) and HAP's weight score; BatchNorm is re-estimated in all but joint merges on layers,
which are fitted to its statistics. No table of the paper could be obtained. Each row is measured in a process of its
own, with its peak memory; rows that the record has already are not measured again.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from apart import name_of, rows_apart
from record import Show, known_rows, save
from torch import Tensor

from edgeprune.curvature.fisher import fisher_diagonal
from edgeprune.curvature.probing import Probing
from edgeprune.merging.cycle import Merging, curve, one_cycle
from edgeprune.merging.selection import schedule
from edgeprune.model.batches import sample
from edgeprune.model.data import Data, load_data
from edgeprune.model.device import device_of, move, pick_device
from edgeprune.model.evaluate import accuracy
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.pipeline.masked import weight_curvature
from edgeprune.progress import silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import apply_masks
from edgeprune.pruning.patterns import masks_of
from edgeprune.pruning.weight_scores import WEIGHT_SCORES
from edgeprune.spec.budget import MASKED_AT_MOST
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Source, Training
from edgeprune.train.batch_norm import reestimate
from edgeprune.train.fit import Plan, fit
from edgeprune.train.hold import holding

CYCLES, IMAGES, CURVED, REESTIMATION, EPOCHS, BETWEEN = 6, 1024, 512, 2048, 3, 0.2
PATTERN = parse_pattern("unstructured")
ONCE = ("magnitude", "LAMP", "OBD", "HAP")
CAMP: dict[str, dict[str, Any]] = {
    "camp-hive": {},
    "camp-hive, pair": {"merge": "pair"},
    "camp-hive, constant": {"merge": "constant"},
    "camp-hive, no merge": {"merge": "none"},
    "camp-hive, joint on the loss": {"on": "loss", "score": "lowrank+fisher"},
    "camp-hive, score lowrank+fisher": {"score": "lowrank+fisher"},
    "camp-hive, score lowrank": {"score": "lowrank"},
    "released code, repaired": {
        "score": "eigvec",
        "merge": "constant",
        "on": "loss",
        "by_tensor": True,
        "eigenpairs": 1,
    },
}
DECIDING = ("magnitude", "OBD", "camp-hive", "camp-hive, pair", "camp-hive, constant")
"""At 80 % without training."""
Case = tuple[str, float, str, int, int]
"""Network, share, way, epochs, seed."""


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    names = [name for name in ("resnet20", "resnet32", "resnet56") if getattr(asked, name) is not None]
    if not names:
        sys.exit("--resnet20 is needed")
    known = {_case(row): row for row in known_rows(asked)}
    cases = [case for case in _cases(names[0], asked.quick) if case not in known]
    measure = functools.partial(_row, getattr(asked, names[0]), asked.data, asked.device)
    for row in rows_apart(measure, cases, asked.jobs):
        known[_case(row)] = row
        print(json.dumps({k: v for k, v in row.items() if k != "cycles"}), file=sys.stderr)
        if asked.json:
            save("papers: camp-hive", [*known.values()], _shows([*known.values()]), asked.json)
    return [*known.values()], _shows([*known.values()])


def _cases(name: str, quick: bool) -> list[Case]:
    """The deciding ones first."""
    if quick:
        return [(name, 0.8, way, 0, 0) for way in ("magnitude", "camp-hive")]
    found = [(name, 0.8, way, 0, seed) for seed in range(3) for way in DECIDING]
    for seed in range(3):
        found += [(name, s, way, EPOCHS, seed) for s in (0.95, 0.9) for way in ("camp-hive", "magnitude", "LAMP")]
    found += [(name, share, way, 0, 0) for share in (0.8, 0.9, 0.5, 0.95) for way in (*ONCE, *CAMP)]
    return [*dict.fromkeys(found)]


def _case(row: dict[str, Any]) -> Case:
    return row["network"], row["share"], row["way"], row["epochs"], row["seed"]


def _row(weights: Path, folder: Path, device: str, case: Case) -> dict[str, Any]:
    """Prune, train where that is asked, and judge."""
    name, share, way, epochs, seed = case
    data = load_data(Source(model=name, data=str(folder)), 32)
    module = NETWORKS[name].build(10, 3)
    load_weights(module, weights, name)
    dense = move(trace(module.eval(), (3, 32, 32)), pick_device(device))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    if way in ONCE:
        student, masks, logs, left = *_once(dense, data, share, way, seed), [], float(epochs)
    else:
        student, masks, logs, left = _in_cycles(dense, data, share, CAMP[way], epochs, seed)
    pruned, cut = accuracy(student.module, data.test, data.preprocessing).value, time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if left:
        student = trained(student, dense, data, masks, left, seed)
    zeros = sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    return {
        "network": name,
        "share": share,
        "zeros": zeros,
        "way": way,
        "epochs": epochs,
        "seed": seed,
        "before tuning %": 100 * pruned,
        "accuracy %": 100 * accuracy(student.module, data.test, data.preprocessing).value,
        "dense %": 100 * accuracy(dense.module, data.test, data.preprocessing).value,
        "cut s": cut,
        "GB more": peak * 1024 / 1e9,
        "device": name_of(device_of(dense)),
        "cycles": logs,
    }


def _once(dense: Traced, data: Data, share: float, way: str, seed: int) -> tuple[Traced, dict[str, Tensor]]:
    """A baseline: scored and cut once, BatchNorm re-estimated."""
    weights = eligible(dense, PATTERN, None, ()).weights
    x, y = sample(data.train, data.preprocessing, IMAGES, seed)
    if way == "OBD":
        fisher = fisher_diagonal(dense, weights, x, y, Probing(seed=seed))
        scores = {n: fisher[n].value.double() * _weight(dense, n).square() for n in weights}
    elif way == "LAMP":
        scores = {n: _lamp(_weight(dense, n)) for n in weights}
    elif way == "HAP":
        found = weight_curvature(dense, "hap", weights, PATTERN, x[:256], y[:256], Probing(seed=seed), silent)
        scores = WEIGHT_SCORES["hap"](dense.module, weights, found)
    else:
        scores = WEIGHT_SCORES["magnitude"](dense.module, weights, None)
    masks = masks_of(scores, PATTERN, share, MASKED_AT_MOST)
    student = _twin(dense)
    apply_masks(student.module, masks)
    return settled(student, data, seed), masks


def _weight(traced: Traced, name: str) -> Tensor:
    return traced.module.get_parameter(name).detach().cpu()


def _lamp(w: Tensor) -> Tensor:
    """`w^2` over the sum of the squares that are no smaller (Lee et al. 2021, eq. 1)."""
    squares, order = w.double().square().flatten().sort()
    after = squares.flip(0).cumsum(0).flip(0)
    return torch.empty_like(squares).scatter_(0, order, squares / after.clamp_min(1e-300)).view_as(w)


def _in_cycles(
    dense: Traced, data: Data, share: float, how: Mapping[str, Any], epochs: int, seed: int
) -> tuple[Traced, dict[str, Tensor], list[dict[str, Any]], float]:
    """The network, its masks, the cycles' logs, and the epochs that are left for the end."""
    x, y = sample(data.train, data.preprocessing, IMAGES, seed)
    asked = Merging(least=1 - MASKED_AT_MOST, probing=Probing(batch_size=256, seed=seed), **how)
    student, teacher, start = _twin(dense), dense, None
    names = eligible(dense, PATTERN, None, ()).weights
    masks = {n: torch.ones(dense.module.get_parameter(n).shape, dtype=torch.bool) for n in names}
    logs, left = [], float(epochs)
    cycles = 1 if asked.score == "eigvec" else CYCLES
    for cycle in range(1, cycles + 1):
        curved = curve(student, masks, x[:CURVED], y[:CURVED], asked, start) if asked.curves else None
        start = curved.vectors if curved is not None else None
        masks, log = one_cycle(student, teacher, masks, schedule(share, cycle, cycles), x, y, asked, curved)
        logs.append(vars(log))
        if epochs and cycle < cycles:
            student = trained(student, dense, data, masks, BETWEEN, seed)
            teacher, left = _twin(student), left - BETWEEN
    return (settled(student, data, seed) if asked.follows else student), masks, logs, round(left, 6)


def trained(
    student: Traced, dense: Traced, data: Data, masks: Mapping[str, Tensor], epochs: float, seed: int
) -> Traced:
    """As the chain does it, by its defaults."""
    asked, whole = Training(), math.ceil(epochs)
    plan = Plan(
        name="fine-tuning", optimizer="sgd", epochs=whole, batch_size=asked.batch_size,
        learning_rate=asked.learning_rate, warmup=asked.warmup, momentum=asked.momentum,
        weight_decay=asked.weight_decay, distill=asked.distill, temperature=asked.temperature, seed=seed,
        augment=data.augment, share=epochs / whole,
    )  # fmt: skip
    return fit(student, data, plan, dense, silent, after_step=holding(masks)).traced


def settled(student: Traced, data: Data, seed: int) -> Traced:
    x, _ = sample(data.train, data.preprocessing, REESTIMATION, seed)
    return reestimate(student, x.split(128))


def _twin(traced: Traced) -> Traced:
    return replace(traced, module=copy.deepcopy(traced.module))


def _shows(found: list[dict[str, Any]]) -> list[Show]:
    """As far as all seeds of a line are there."""
    shows = []
    untrained = {way: _over(found, 0.8, way, 0) for way in DECIDING}
    if all(len(right) >= 3 for right in untrained.values()):
        mean = {way: statistics.mean(right) for way, right in untrained.items()}
        ours = mean["camp-hive"]
        gain = ours - mean["magnitude"]
        shows += [
            Show("camp-hive", 2, gain, "80 %: at least 10 points above magnitude with BatchNorm", gain >= 10),
            Show("camp-hive", 2, ours - mean["OBD"], "80 %: above one-shot OBD", ours > mean["OBD"]),
            Show("camp-hive", 2, ours - mean["camp-hive, pair"], "joint above pair", ours > mean["camp-hive, pair"]),
            Show(
                "camp-hive", 2, mean["camp-hive, pair"] - mean["camp-hive, constant"], "pair above constant",
                mean["camp-hive, pair"] > mean["camp-hive, constant"],
            ),
        ]  # fmt: skip
    for share in (0.9, 0.95):
        tuned = {way: _over(found, share, way, EPOCHS) for way in ("camp-hive", "magnitude", "LAMP")}
        if not all(len(right) >= 3 for right in tuned.values()):
            continue
        for other in ("magnitude", "LAMP"):
            ahead, doubt = _ahead(tuned["camp-hive"], tuned[other])
            least = -doubt if share == 0.9 else 0.5
            bar = f"{100 * share:.0f} %, {EPOCHS} epochs: at least {least:.2f} points from {other}"
            shows.append(Show("camp-hive", 3, ahead, bar, ahead >= least))
    whole = [
        row for row in found if row["way"] == "camp-hive" and row["epochs"] == 0 and row.get("device", "cpu") == "cpu"
    ]
    if whole:
        seconds = max(row["cut s"] for row in whole)
        shows.append(Show("camp-hive", 5, seconds / 60, "minutes: at most 40 on two cores", seconds <= 2400))
    return shows


def _over(found: list[dict[str, Any]], share: float, way: str, epochs: int) -> list[float]:
    return [
        row["accuracy %"] for row in found if (row["share"], row["way"], row["epochs"]) == (share, way, epochs)
    ]  # fmt: skip


def _ahead(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The difference of the means, and its standard error."""
    doubt = math.hypot(*(statistics.stdev(right) / math.sqrt(len(right)) for right in (ours, theirs)))
    return statistics.mean(ours) - statistics.mean(theirs), doubt
