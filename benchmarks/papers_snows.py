"""SNOWS (arXiv 2411.18376): one-shot accuracy without any training, on CIFAR-10 networks.

N:M and single weights, against magnitude with and without BatchNorm re-estimated, Wanda (arXiv 2306.11695) and
SparseGPT (arXiv 2301.00774), all on the same 3,000 training images as they are; the layer that reads the image and the
classifier stay dense. Channels: half of the multiply-adds cut by magnitude, then SNOWS, or the channels merged. The
ResNet-20 is one trained on these images; ResNet-32 and 56 are trained on lossless ones (81 to 83 % on these) unless
other weights are given. A small vision transformer, trained on the digits, is masked 2:4 in all its attention and MLP
matrices. Seconds and the process's peak memory are of each way alone, in a process of its own. Rows that the record has
already are not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutting import cut_channels
from digits import digits_transformer
from record import Show, known_rows, save
from torch import Tensor

from edgeprune.curvature.probing import Probing
from edgeprune.merging.channels import merge_channels
from edgeprune.model.batches import sample
from edgeprune.model.count import macs
from edgeprune.model.data import Data, load_data
from edgeprune.model.evaluate import accuracy
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.pipeline.masked import weight_curvature
from edgeprune.progress import silent
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Share, apply_masks, choose_masks
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.plan import prunable
from edgeprune.reconstruction.cascade import Cascade, Walking
from edgeprune.reconstruction.channels import snows_on_channels
from edgeprune.reconstruction.least_squares import Summing
from edgeprune.reconstruction.snows import Rebuilt, Snows, snows
from edgeprune.reconstruction.sparsegpt import sparsegpt
from edgeprune.spec.methods import ScoreName
from edgeprune.spec.pattern import Pattern, parse_pattern
from edgeprune.spec.recipe import Source
from edgeprune.train.batch_norm import reestimate

IMAGES, MOST_OF_A_LAYER = 3000, 0.95
PATTERNS = (("1:4", 0.75), ("2:4", 0.5), *(("unstructured", share) for share in (0.8, 0.9, 0.5, 0.7)))
QUICK = (("1:4", 0.75),)
DECIDING = {("2:4", 0.5), ("1:4", 0.75), ("unstructured", 0.8)}
AHEAD: dict[str, int | None] = {"0": 0, "3": 3, "10": 10, "end": None}
BASELINES = (
    "magnitude", "magnitude + BatchNorm", "Wanda", "Wanda + BatchNorm", "SparseGPT", "SparseGPT + BatchNorm",
)  # fmt: skip
Case = tuple[str, str, float, str]
"""Network, pattern, share, way."""
TRANSFORMER = "vit, digits"
CHANNELS = (
    "cut + BatchNorm", "cut + SNOWS K=end", "cut + SNOWS K=0", "cut + SNOWS K=3", "cut + merge",
    "cut + merge + BatchNorm",
)  # fmt: skip


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    names = [name for name in ("resnet20", "resnet32", "resnet56") if getattr(asked, name) is not None]
    if not names:
        sys.exit("--resnet20 is needed")
    found: list[dict[str, Any]] = []
    known = {_case(row): row for row in known_rows(asked)}
    for name in names[:1] if asked.quick else names:
        patterns = QUICK if asked.quick else PATTERNS if name == "resnet20" else [*sorted(DECIDING)]
        ahead = [*AHEAD] if name == "resnet20" else ["end"]
        wanted = [(*pattern, way) for pattern in patterns for way in (*BASELINES, *(f"SNOWS K={k}" for k in ahead))]
        for pattern, share, way in [*wanted, *(("channel", 0.5, way) for way in CHANNELS)]:
            _add(found, known, asked, (name, pattern, share, way))
    for way in (*(way for way in BASELINES if "BatchNorm" not in way), *(f"SNOWS K={k}" for k in AHEAD)):
        _add(found, known, asked, (TRANSFORMER, "2:4", 0.5, way))
    found = _with_rest(found, known)
    return found, _shows(found)


def _case(row: dict[str, Any]) -> Case:
    return row["network"], row["pattern"], row["share"], row["way"]


def _with_rest(found: list[dict[str, Any]], known: dict[Case, dict[str, Any]]) -> list[dict[str, Any]]:
    """And the rows of the record that were not asked for, or are still to come."""
    there = {_case(row) for row in found}
    return [*found, *(row for case, row in known.items() if case not in there)]


def _add(found: list[dict[str, Any]], known: dict[Case, dict[str, Any]], asked: argparse.Namespace, case: Case) -> None:
    """Measure a row unless it is known, and write what is there."""
    if case in known:
        found.append(known[case])
        return
    name, pattern, share, way = case
    found.append(_apart(name, None if name == TRANSFORMER else getattr(asked, name), asked, pattern, share, way))
    print(json.dumps({k: v for k, v in found[-1].items() if k != "layers"}), file=sys.stderr)
    if asked.json:
        save("papers: snows", _with_rest(found, known), _shows(found), asked.json)


def _apart(
    name: str, weights: Path | None, asked: argparse.Namespace, pattern: str, share: float, way: str
) -> dict[str, Any]:
    """One way, in a process of its own."""
    images = 1000 if asked.quick else IMAGES
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_row, (name, weights, asked.data, pattern, share, way, images))


def _dense(name: str, weights: Path | None, folder: Path) -> tuple[Traced, Data]:
    if weights is None:
        transformer, digits = digits_transformer(epochs=40)
        return trace(transformer, (1, 32, 32)), digits
    module = NETWORKS[name].build(10, 3)
    load_weights(module, weights, name)
    return trace(module.eval(), (3, 32, 32)), load_data(Source(model=name, data=str(folder)), 32)


def _row(
    name: str, weights: Path | None, folder: Path, pattern: str, share: float, way: str, images: int
) -> dict[str, Any]:
    dense, data = _dense(name, weights, folder)
    x, y = sample(data.train, data.preprocessing, images, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    if pattern == "channel":
        student, log = _channels(dense, x, way)
    else:
        student, log = _masked(dense, x, y, parse_pattern(pattern), share, way)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "network": name,
        "pattern": pattern,
        "share": share,
        "zeros": _zeros(student) if pattern != "channel" else None,
        "MACs": macs(student) / macs(dense),
        "way": way,
        "accuracy %": _right(student, data),
        "dense %": _right(dense, data),
        "seconds": seconds,
        "seconds a layer": seconds / len(log) if log else None,
        "GB more": peak * 1024 / 1e9,
        "layers": {row.weight: _short(row) for row in log},
    }


def _short(row: Rebuilt) -> dict[str, Any]:
    """A layer's log, of its steps the numbers alone."""
    steps = {"steps": len(row.steps), "iterations": sum(step["iterations"] for step in row.steps)}
    return asdict(row) | steps


def _right(traced: Traced, data: Data) -> float:
    return 100 * accuracy(traced.module, data.test, data.preprocessing).value


def _zeros(traced: Traced) -> float:
    weights = [p for _, p in traced.module.named_parameters() if p.dim() > 1]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def _twin(traced: Traced) -> Traced:
    return Traced(copy.deepcopy(traced.module), traced.input_shape)


def _masked(
    dense: Traced, x: Tensor, y: Tensor, pattern: Pattern, share: float, way: str
) -> tuple[Traced, list[Rebuilt]]:
    layers, student = eligible(dense, pattern, None, ()), _twin(dense)
    if way.startswith("SparseGPT"):
        student = _sparsegpt(dense, layers.weights, x, pattern, share)
        return (reestimate(student, x.split(128)) if "BatchNorm" in way else student), []
    scores: ScoreName = "wanda" if way.startswith("Wanda") else "magnitude"
    curvature = None
    if scores == "wanda":
        curvature = weight_curvature(dense, scores, layers.weights, pattern, x, y, Probing(), silent)
    masks = choose_masks(dense.module, layers, pattern, scores, curvature, Share(share, MOST_OF_A_LAYER)).kept
    if way.startswith("SNOWS"):
        return student, snows(student, dense, masks, x, Snows(steps=AHEAD[way.partition("=")[2]]))
    apply_masks(student.module, masks)
    if "BatchNorm" in way:
        reestimate(student, x.split(128))
    return student, []


def _sparsegpt(dense: Traced, weights: tuple[str, ...], x: Tensor, pattern: Pattern, share: float) -> Traced:
    """Layer by layer, on inputs from the network as pruned so far; the same share of every layer."""
    student = _twin(dense)
    cascade = Cascade(student, dense, x, Walking())
    masks = {}
    for place in cascade.places(weights):
        assert place.simple is not None
        summing = Summing(place.simple, bias=False)
        for number in range(place.held_back + 1):
            summing.add(place.inputs(number), None)
        value, masks[place.weight] = sparsegpt(place.value, summing.moments().inputs, pattern, share)
        cascade.set(place.weight, value)
    cascade.write_back(weights, masks)
    cascade.close()
    return student


def _channels(dense: Traced, x: Tensor, way: str) -> tuple[Traced, list[Rebuilt]]:
    ground = prunable(dense)
    scored = METHODS["magnitude"](dense.module, ground.groups, None, "zero")
    done = cut_channels(dense, ground, scored, 8, 0.5, x, trained=False)
    if "SNOWS" in way:
        steps = AHEAD[way.partition("=")[2]]
        return snows_on_channels(dense, ground.found, done.cuts.units, x, Snows(steps=steps))
    thin = merge_channels(dense, ground.found, done.cuts.units, x)[0] if "merge" in way else done.traced
    return (reestimate(thin, x.split(128)) if "BatchNorm" in way else thin), []


def _shows(found: list[dict[str, Any]]) -> list[Show]:
    """Of the ResNet-20, as far as its rows are there."""
    right = {(row["pattern"], row["way"], _share(row)): row for row in found if row["network"] == "resnet20"}
    shows = []
    for pattern, share in sorted(DECIDING):
        ways = {way: row for (p, way, s), row in right.items() if p == pattern and s == _nearest(pattern, share)}
        if not {"magnitude + BatchNorm", "SparseGPT", "SNOWS K=end"} <= set(ways):
            continue
        lost = {way: row["dense %"] - row["accuracy %"] for way, row in ways.items()}
        ours, plain, other = lost["SNOWS K=end"], lost["magnitude + BatchNorm"], lost["SparseGPT"]
        label = f"{pattern} {share}"
        shows += [
            Show("snows", 2, ours / plain, f"{label}: at most 0.35 of what magnitude loses", ours <= 0.35 * plain),
            Show("snows", 2, ours - other, f"{label}: fewer points lost than by SparseGPT", ours < other),
        ]
    by_way = {way: row for (p, way, _), row in right.items() if p == "channel"}
    if set(CHANNELS[:2]) <= set(by_way):
        gain = by_way[CHANNELS[1]]["accuracy %"] - by_way[CHANNELS[0]]["accuracy %"]
        shows.append(Show("snows", 4, gain, "at least 10 points above BatchNorm re-estimated", gain >= 10))
    if {CHANNELS[0], CHANNELS[5]} <= set(by_way):
        gain = by_way[CHANNELS[5]]["accuracy %"] - by_way[CHANNELS[0]]["accuracy %"]
        shows.append(Show("camp-hive", 4, gain, "at least 10 points above the cut, BatchNorm re-estimated", gain >= 10))
    lost = {row["way"]: row["dense %"] - row["accuracy %"] for row in found if row["network"] == TRANSFORMER}
    if {"magnitude", "SNOWS K=end"} <= set(lost):
        ours, plain = lost["SNOWS K=end"], lost["magnitude"]
        shows.append(Show("snows", 5, ours / plain, "ViT 2:4: at most half of magnitude's drop", ours <= plain / 2))
    whole = [row["seconds"] for (_, way, _), row in right.items() if way == "SNOWS K=end"]
    if whole:
        shows.append(Show("snows", 3, max(whole), "at most 1800 s for K to the end", max(whole) <= 1800))
    return shows


def _share(row: dict[str, Any]) -> float | None:
    return _nearest(row["pattern"], row["share"])


def _nearest(pattern: str, share: float) -> float | None:
    return share if pattern == "unstructured" else None
