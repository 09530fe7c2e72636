"""AMP-HASA: how a budget is divided among layers, by PPO, other searches and rules, at equal trials.

CIFAR-10 (JPEG). Single weights at 80 to 95 %, channels at half of the multiply-adds; the same scores in every row of a
table (magnitude times a power of the curvature, pooled over outputs), BatchNorm re-estimated on 2,048 training images,
judged on the test images; with fine-tuning too. A seed draws the images that trials are judged on, the labels of the
curvature and the search; the dense network is the same. And the scores in their forms, at LAMP's allocation. Rows that
the record has already are not measured again; the first rows are those that decide.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from apart import name_of, rows_apart
from record import Show, known_rows, save
from torch import Tensor

from edgeprune.allocation.allocate import Pictures, allocate
from edgeprune.compact.apply import compact_soundly
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.batches import sample
from edgeprune.model.count import macs
from edgeprune.model.data import Data, load_data
from edgeprune.model.device import device_of, move, pick_device
from edgeprune.model.evaluate import accuracy
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.pipeline.allocated import Cutting, Masking, diagonals
from edgeprune.progress import silent
from edgeprune.pruning.budget import bounds_of
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.masks import apply_masks
from edgeprune.pruning.plan import prunable
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Allocating
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Source, Training
from edgeprune.train.batch_norm import reestimate
from edgeprune.train.fit import Plan, fit
from edgeprune.train.hold import holding

TRIALS, IMAGES, FRESH = 600, 500, 2000
RULES, SEARCHED = ("uniform", "erk", "global", "lamp"), ("random", "cem", "ppo")
SEEDS = 3
SCORES: dict[str, dict[str, Any]] = {
    "magnitude": {"strength": 0.0},
    "corrected": {"strength": 0.25},
    "literal": {"strength": 0.25, "sign": "literal"},
    "literal, own, raw, 1 (as printed)": {"strength": 1.0, "sign": "literal", "form": "raw", "pooled": False},
    "literal, own, rank, 1": {"strength": 1.0, "sign": "literal", "form": "rank", "pooled": False},
    "corrected, own, rank, 1": {"strength": 1.0, "form": "rank", "pooled": False},
    "corrected, own, power, 0.5": {"strength": 0.5, "pooled": False},
    "corrected, own, mean, 0.1": {"strength": 0.1, "form": "mean", "pooled": False},
    "corrected, rank, 0.5": {"strength": 0.5, "form": "rank"},
}
"""By name: pooled curvature to a power, or as the name says, `own` being that of each weight by itself."""


@dataclass(frozen=True)
class Case:
    """One row. `share`: of weights that go, or with channels of multiply-adds that stay."""

    network: str
    pattern: str
    share: float
    score: str
    allocator: str
    epochs: int
    seed: int
    images: int = IMAGES

    def of(self, row: dict[str, Any]) -> bool:
        return all(row[name] == value for name, value in vars(self).items())


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    if asked.resnet20 is None:
        sys.exit("--resnet20 is needed")
    found = known_rows(asked)
    cases = [*(_quick() if asked.quick else _cases(asked))]
    missing = [case for case in dict.fromkeys(cases) if not any(case.of(row) for row in found)]
    weights = {name: getattr(asked, name) for name in ("resnet20", "resnet56")}
    measure = functools.partial(_row, weights, asked.data, asked.device, 40 if asked.quick else TRIALS)
    for row in rows_apart(measure, missing, asked.jobs, asked.threads, fresh=False):
        found.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        if asked.json:
            save("papers: amp-hasa", found, _shows(found), asked.json)
    return found, [] if asked.quick else _shows(found)


def _quick() -> Iterator[Case]:
    for allocator in ("lamp", "cem", "ppo"):
        yield Case("resnet20", "unstructured", 0.85, "corrected", allocator, 0, 0)


def _cases(asked: argparse.Namespace) -> Iterator[Case]:
    """In the order of what they decide."""
    plain = ("resnet20", "unstructured")
    for score, seed in itertools.product(SCORES, range(SEEDS)):
        yield Case(*plain, 0.8, score, "lamp", 0, seed)
    score = "corrected"
    for seed in range(SEEDS):
        for allocator in (*RULES, *reversed(SEARCHED)):
            yield Case(*plain, 0.85, score, allocator, 0, seed)
    yield Case(*plain, 0.85, score, "ppo", 0, 0, 1000)
    networks = [name for name in ("resnet20", "resnet56") if getattr(asked, name) is not None]
    for seed, network, epochs in itertools.product(range(SEEDS), networks, (0, asked.epochs)):
        for pattern, share in (("unstructured", 0.9), ("channel", 0.5), ("unstructured", 0.8), ("unstructured", 0.95)):
            for allocator in (*RULES, *reversed(SEARCHED)):
                yield Case(network, pattern, share, score, allocator, epochs, seed)


@functools.cache
def _dense(network: str, weights: Path, device: str) -> Traced:
    module = NETWORKS[network].build(10, 3)
    load_weights(module, weights, network)
    return move(trace(module.eval(), (3, 32, 32)), pick_device(device))


@functools.cache
def _data(folder: Path) -> Data:
    return load_data(Source(model="resnet20", data=str(folder)), 32)


@functools.cache
def _curved(network: str, weights: Path, folder: Path, device: str, seed: int) -> dict[str, Tensor]:
    dense, data = _dense(network, weights, device), _data(folder)
    names = eligible(dense, parse_pattern("unstructured"), None, ()).weights
    shown = sample(data.train, data.preprocessing, 1024, seed)
    return diagonals(dense, names, "fisher", shown, Probing(seed=seed))


@functools.cache
def _traces(network: str, weights: Path, folder: Path, device: str, seed: int) -> Curvature:
    dense, data = _dense(network, weights, device), _data(folder)
    shown = sample(data.train, data.preprocessing, 256, seed)
    return channel_traces(dense, prunable(dense).weights, *shown, Probing(seed=seed), silent)


def _row(weights: dict[str, Path], folder: Path, device: str, trials: int, case: Case) -> dict[str, Any]:
    own = weights[case.network]
    dense, data = _dense(case.network, own, device), _data(folder)
    curved = _traces if case.pattern == "channel" else _curved
    known = curved(case.network, own, folder, device, case.seed)
    begin = time.perf_counter()
    setting = Allocating(allocator=case.allocator, evaluations=trials, **SCORES[case.score])  # type: ignore[arg-type]
    thin, masks, log = (_channels if case.pattern == "channel" else _masked)(dense, data, case, setting, known)
    cut = time.perf_counter() - begin
    x, _ = sample(data.train, data.preprocessing, 2048, case.seed)
    reestimate(thin, x.split(128))
    if case.epochs:
        thin = _tuned(thin, dense, data, case, masks)
    right = accuracy(thin.module, data.test, data.preprocessing)
    return {
        **vars(case),
        "accuracy %": 100 * right.value,
        "se": 100 * right.standard_error,
        "zeros": _zeros(thin, masks) if masks else None,
        "MACs": macs(thin) / macs(dense),
        "cut s": cut,
        "threads": torch.get_num_threads(),
        "device": name_of(device_of(dense)),
        **log,
    }


def _masked(
    dense: Traced, data: Data, case: Case, setting: Allocating, curved: dict[str, Tensor]
) -> tuple[Traced, dict[str, Any], dict[str, Any]]:
    assert setting.strength != "search"
    posed = Masking(dense, curved, parse_pattern("unstructured"), case.share)
    problem = posed.problem(setting, setting.strength)
    found = allocate(dense, problem, _pictures(data, case), setting, case.seed)
    masks = problem.lot.masks(found.kept)
    thin = Traced(copy.deepcopy(dense.module), dense.input_shape)
    apply_masks(thin.module, masks)
    return thin, masks, _log(found)


def _channels(
    dense: Traced, data: Data, case: Case, setting: Allocating, traces: Curvature
) -> tuple[Traced, dict[str, Any], dict[str, Any]]:
    ground = prunable(dense)
    bounds = tuple(bounds_of(ground.cost, Budget(macs=case.share)))
    posed = Cutting(dense, ground, traces, Limits(1, 0.95), bounds)
    assert setting.strength != "search"
    problem = posed.problem(setting, setting.strength)
    found = allocate(dense, problem, _pictures(data, case), setting, case.seed)
    x, _ = sample(data.train, data.preprocessing, 8, case.seed)
    done = compact_soundly(dense, ground.found, ground.groups, lambda free: posed.cuts(problem, found.kept, free), x)
    return done.traced, {}, _log(found)


def _pictures(data: Data, case: Case) -> Pictures:
    return Pictures(
        sample(data.train, data.preprocessing, case.images, case.seed),
        sample(data.val, data.preprocessing, FRESH, case.seed),
    )


def _log(found: Any) -> dict[str, Any]:
    """Of a search: how long, how much of it its own, and how its rewards rose (means of tenths)."""
    if not found.trials:
        return {}
    rewards = [trial.reward for trial in found.trials]
    tenth = max(1, len(rewards) // 10)
    return {
        "search s": found.seconds,
        "own share": 1 - found.judging / found.seconds,
        "trials": len(rewards),
        "course": {"tenths": [statistics.mean(rewards[i : i + tenth]) for i in range(0, len(rewards), tenth)]},
        "kept": {"units": found.kept},
    }


def _tuned(thin: Traced, dense: Traced, data: Data, case: Case, masks: dict[str, Any]) -> Traced:
    given = Training()
    plan = Plan(
        name="fine-tuning", optimizer="sgd", epochs=case.epochs, batch_size=given.batch_size,
        learning_rate=given.learning_rate, warmup=given.warmup, momentum=given.momentum,
        weight_decay=given.weight_decay, distill=given.distill, temperature=given.temperature, seed=case.seed,
        augment=data.augment,
    )  # fmt: skip
    return fit(thin, data, plan, dense, silent, after_step=holding(masks) if masks else None).traced


def _zeros(thin: Traced, masks: dict[str, Any]) -> float:
    weights = [thin.module.get_parameter(name) for name in masks]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _mean(found: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean accuracy over the seeds, and its standard error."""
    right = [row["accuracy %"] for row in found]
    return statistics.mean(right), statistics.stdev(right) / len(right) ** 0.5


def _shows(found: list[dict[str, Any]]) -> list[Show]:
    """Of the ResNet-20 without training, as far as all seeds are there."""
    plain = [row for row in found if (row["network"], row["pattern"], row["epochs"]) == ("resnet20", "unstructured", 0)]
    shows = []
    by_score = {
        score: [r for r in plain if r["share"] == 0.8 and r["score"] == score and r["allocator"] == "lamp"]
        for score in SCORES
    }
    whole = {score: _mean(some) for score, some in by_score.items() if len(some) == SEEDS}
    magnitude, corrected, literal = (whole.get(score) for score in [*SCORES][:3])
    if magnitude and corrected and literal:
        doubt = (magnitude[1] ** 2 + corrected[1] ** 2) ** 0.5
        ahead = corrected[0] - magnitude[0]
        shows += [
            Show("amp-hasa", 3, ahead, f"corrected at least {-doubt:.2f} points from magnitude", ahead >= -doubt),
            Show("amp-hasa", 3, literal[0], "literal at least 20 points below", literal[0] <= magnitude[0] - 20),
        ]
    some = [row for row in plain if row["share"] == 0.85 and row["images"] == IMAGES]
    by_allocator = {name: [row for row in some if row["allocator"] == name] for name in (*RULES, *SEARCHED)}
    means = {name: _mean(of) for name, of in by_allocator.items() if len(of) == SEEDS}
    for name in (*RULES, *SEARCHED[:-1]):
        if name in means and "ppo" in means:
            (ours, error), (other, doubt) = means["ppo"], means[name]
            bar = f"PPO {ours:.2f} ± {error:.2f} above {name} {other:.2f} ± {doubt:.2f}"
            shows.append(Show("amp-hasa", 2, ours - other, bar, ours > other))
    timed = [row for row in plain if row["images"] == 1000 and row["device"] == "cpu"]
    for row in timed:
        shows += [
            Show("amp-hasa", 4, row["search s"] / 60, "minutes: at most 20", row["search s"] <= 1200),
            Show("amp-hasa", 4, row["own share"], "PPO's own share: below 0.1", row["own share"] < 0.1),
        ]
    return shows
