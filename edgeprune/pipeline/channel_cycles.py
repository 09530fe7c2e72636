"""CAMP-HiVe's cycles on channels: each ranks, cuts, merges and, where that is asked, trains the network of the last."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.merging.selection import schedule
from edgeprune.pipeline import curving, cutting, ranking, rebuilding, steps
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import check_reachable, open_ground
from edgeprune.pipeline.rebuilding import MERGED
from edgeprune.pipeline.steps import NETWORK, Work, network
from edgeprune.pruning.cost import Cost
from edgeprune.pruning.portions import Left
from edgeprune.spec.budget import SHARES

CUTS = "cuts.json"


@dataclass(frozen=True)
class ChannelCycles:
    """All stages in order, and the one that holds the pruned network and what was cut in all."""

    stages: tuple[Stage, ...]
    cut: Stage


def channel_cycles(work: Work, dense: Stage) -> ChannelCycles:
    """Prune to the recipe's budget in cycles, on a cubic schedule of what goes.

    Raises:
        EdgepruneError: the budget cannot be met.
    """
    asked, limits = work.recipe.camp_hive, work.recipe.budget.limits
    count = asked.count(work.recipe.pattern)
    if asked.ranked_by("channel") == "magnitude":  # else it is checked before the curvature is estimated
        check_reachable(open_ground(network(dense), work.recipe, work.target), work.recipe, work.target)
    left, at, rebuilt, cuts, done = Left.of(_cost(work, dense)), dense, dense, list[Stage](), list[Stage]()
    for cycle in range(1, count + 1):
        cost = _cost(work, at)
        budget = left.portion(limits, schedule(1.0, cycle, count), cost)
        if budget is None and cycle == count and not cuts:
            budget = work.recipe.budget  # the dense network keeps to it: nothing goes, and the report says so
        if budget is None:
            continue
        said, whole = _told(work, cycle, count), dense if cuts else None
        scored = curving.curvature(said, at, whole=not cuts)
        ranked = ranking.rank(said, at, scored, whole)
        cut = cutting.prune(said, at, ranked, budget, whole)
        rebuilt = rebuilding.rebuild(said, at, cut)
        left = left.after(_report(cut)["reached"], cost)
        cuts.append(cut)
        at = rebuilt
        done += [*ranked.stages, cut, *([rebuilt] if rebuilt != cut else [])]
        if asked.between and cycle < count:
            label = f"fine-tuning after cycle {cycle} of {count}"
            at = steps.between(work, dense, rebuilt, label, asked.between)
            done.append(at)
    if len(cuts) > 1:
        rebuilt = _summary(work, rebuilt, cuts, left)
        done.append(rebuilt)
    return ChannelCycles(tuple(done), rebuilt)


def _cost(work: Work, stage: Stage) -> Cost | None:
    """What a network costs on the device; None where shares alone are limited."""
    if all(name in SHARES for name in work.recipe.budget.limits):
        return None
    return open_ground(network(stage), work.recipe, work.target).cost


def _told(work: Work, cycle: int, count: int) -> Work:
    return replace(work, tick=lambda what, done, total: work.tick(f"cycle {cycle} of {count}: {what}", done, total))


def _summary(work: Work, last: Stage, cuts: list[Stage], left: Left) -> Stage:
    """The last network, and what all cycles cut from the dense one."""
    limits = dict(work.recipe.budget.limits)

    def make(folder: Path) -> None:
        reports = [_report(cut) for cut in cuts]
        kept: dict[str, list[int]] = {}
        for report in reports:
            for name, (stay, before) in report["kept"].items():
                kept[name] = [stay, kept[name][1] if name in kept else before]
        whole: dict[str, Any] = reports[-1] | {
            "kept": kept,
            "budget": limits,
            "reached": reports[-1]["reached"] | left.reached(),
        }
        (folder / CUTS).write_text(json.dumps(whole, indent=2), encoding="utf-8")
        shutil.copyfile(last.path / NETWORK, folder / NETWORK)
        if (last.path / MERGED).is_file():
            shutil.copyfile(last.path / MERGED, folder / MERGED)

    return work.run.stage("cycles", limits, [*cuts, last], make)


def _report(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage.path / CUTS).read_text(encoding="utf-8"))
    return found
