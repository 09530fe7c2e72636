"""CAMP-HiVe on channels: ResNet-20 cut to a half, a quarter and a tenth of its multiply-adds, beside other methods.

The network is `methods.py`'s, which Torch-Pruning can follow; any width. Without training (BatchNorm re-estimated in
every row), and after equal fine-tuning. `camp-hive, no merge` has the very cuts of `camp-hive, one cycle`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from methods import network
from papers_camp import EPOCHS, settled, trained
from record import Show, known_rows, save
from torch_pruning_peer import IMPORTANCES, cut

import edgeprune
from edgeprune.merging.selection import schedule
from edgeprune.model.batches import sample
from edgeprune.model.count import macs, params
from edgeprune.model.data import Data, load_data
from edgeprune.model.evaluate import accuracy
from edgeprune.model.traced import Traced, trace
from edgeprune.spec.methods import Cycling
from edgeprune.spec.recipe import Source

LEFT = (0.5, 0.25, 0.1)
CAMP = {"camp-hive": None, "camp-hive, one cycle": "joint", "camp-hive, pair": "pair", "camp-hive, no merge": "none"}
OURS = (*CAMP, "hap", "magnitude")
PEERS = tuple(f"Torch-Pruning, {importance}" for importance in IMPORTANCES)
DECIDING = ("camp-hive, one cycle", "camp-hive, no merge")
TRAINED = ("camp-hive", "hap", "magnitude", "Torch-Pruning, magnitude", "Torch-Pruning, Hessian, mended")
SHAPE = (3, 32, 32)
Case = tuple[float, str, int, int]
"""Share, way, epochs, seed."""


def rows(asked: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Show]]:
    """The table, and what it decides."""
    if asked.resnet20 is None:
        sys.exit("--resnet20 is needed")
    known = {_case(row): row for row in known_rows(asked)}
    for case in _cases(asked.quick):
        if case in known:
            continue
        known[case] = _row(asked.resnet20, asked.data, case)
        print(json.dumps(known[case]), file=sys.stderr)
        if asked.json:
            save("papers: camp-hive on channels", [*known.values()], _shows([*known.values()]), asked.json)
    return [*known.values()], _shows([*known.values()])


def _cases(quick: bool) -> list[Case]:
    """The deciding ones first."""
    if quick:
        return [(0.5, way, 0, 0) for way in DECIDING]
    found = [(0.5, way, 0, seed) for seed in range(3) for way in DECIDING]
    found += [(left, way, 0, 0) for left in LEFT for way in (*OURS, *PEERS)]
    found += [(left, way, EPOCHS, 0) for left in LEFT for way in TRAINED]
    return [*dict.fromkeys(found)]


def _case(row: dict[str, Any]) -> Case:
    return row["left"], row["way"], row["epochs"], row["seed"]


def _row(weights: Path, folder: Path, case: Case) -> dict[str, Any]:
    """Cut, train where that is asked, and judge."""
    left, way, epochs, seed = case
    data = load_data(Source(model="resnet20", data=str(folder)), 32)
    dense = trace(network(weights), SHAPE)
    begin = time.perf_counter()
    if way in PEERS:
        found = sample(data.train, data.preprocessing, 1024, seed)
        thin = cut(network(weights), left, 1, way.partition(", ")[2], found)
    else:
        thin = _ours(network(weights), data, way, left, seed)
    seconds = time.perf_counter() - begin
    thin = settled(thin, data, seed)
    before = accuracy(thin.module, data.test, data.preprocessing).value
    if epochs:
        thin = trained(thin, dense, data, {}, epochs, seed)
    return {
        "left": left,
        "way": way,
        "epochs": epochs,
        "seed": seed,
        "MACs": macs(thin) / macs(dense),
        "params": params(thin) / params(dense),
        "before tuning %": 100 * before,
        "accuracy %": 100 * accuracy(thin.module, data.test, data.preprocessing).value,
        "dense %": 100 * accuracy(dense.module, data.test, data.preprocessing).value,
        "cut s": seconds,
    }


def _ours(module: torch.nn.Module, data: Data, way: str, left: float, seed: int) -> Traced:
    """As `edgeprune prune` does it, by its defaults but for the widths."""
    found = sample(data.train, data.preprocessing, Cycling().images, seed)
    settings: dict[str, Any] = {"data": found, "multiple": 1, "seed": seed}
    if way not in CAMP:
        return edgeprune.prune(module, found[0][:8], macs=left, method=way, **settings).traced
    settings |= {"method": "camp-hive", "camp_hive": {"merge": CAMP[way] or "joint"}}
    reached, whole = 1.0, macs(trace(module, SHAPE))
    count = Cycling().count("channel") if CAMP[way] is None else 1
    for cycle in range(1, count + 1):
        wanted = 1 - schedule(1 - left, cycle, count)
        module = edgeprune.prune(module, found[0][:8], macs=wanted / reached, **settings)
        reached = macs(module.traced) / whole
    return module.traced


def _shows(found: list[dict[str, Any]]) -> list[Show]:
    """As far as all seeds of the line are there."""
    merged, bare = ([row["accuracy %"] for row in found if _case(row)[:3] == (0.5, way, 0)] for way in DECIDING)
    if min(len(merged), len(bare)) < 3:
        return []
    gain = statistics.mean(merged) - statistics.mean(bare)
    return [Show("camp-hive", 4, gain, "half of the MACs: at least 10 points above no merge", gain >= 10)]
