"""CAMP-HiVe's cycles on channels: each ranks, cuts, merges and, where that is asked, trains the network of the last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.merging.selection import schedule
from edgeprune.pipeline import curving, cutting, ranking, rebuilding, steps
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import open_ground
from edgeprune.pipeline.rebuilding import MERGED
from edgeprune.pipeline.steps import NETWORK, Work, network
from edgeprune.pruning.budget import reached
from edgeprune.spec.budget import SHARES, Budget, LimitName

CUTS = "cuts.json"
DIGITS = 4
"""Of a cycle's budget."""


@dataclass(frozen=True)
class ChannelCycles:
    """All stages in order, and the one that holds the pruned network and what was cut in all."""

    stages: tuple[Stage, ...]
    cut: Stage


@dataclass
class _Left:
    """Of the dense network, what the cycles so far left: limit name -> a share, or of an absolute limit the figure."""

    of: dict[str, float]
    cuts: list[Stage] = field(default_factory=list)

    def after(self, cut: Stage) -> None:
        found = _report(cut)["reached"]
        for name in self.of:
            if name not in SHARES:
                self.of[name] = found[name]
            else:
                self.of[name] *= 1 - found[name] if name == "sparsity" else found[name]
        self.cuts.append(cut)


def channel_cycles(work: Work, dense: Stage) -> ChannelCycles:
    """Prune to the recipe's budget in cycles, on a cubic schedule of what goes.

    Raises:
        EdgepruneError: the budget cannot be met.
    """
    asked, limits = work.recipe.camp_hive, work.recipe.budget.limits
    count = asked.count(work.recipe.pattern)
    whole = _whole(work, dense, limits)
    left, at, done, rebuilt = _Left(dict(whole)), dense, list[Stage](), dense
    for cycle in range(1, count + 1):
        budget = _budget(limits, whole, left.of, schedule(1.0, cycle, count))
        if budget is None:
            continue
        said = _told(work, cycle, count)
        scored = curving.curvature(said, at, whole=cycle == 1)
        ranked = ranking.rank(said, at, scored)
        cut = cutting.prune(said, at, ranked, budget)
        rebuilt = rebuilding.rebuild(said, at, cut)
        left.after(cut)
        at = rebuilt
        done += [*ranked.stages, cut, *([rebuilt] if rebuilt != cut else [])]
        if asked.between and cycle < count:
            label = f"fine-tuning after cycle {cycle} of {count}"
            at = steps.between(work, dense, rebuilt, label, asked.between)
            done.append(at)
    if len(left.cuts) > 1:
        rebuilt = _summary(work, rebuilt, left)
        done.append(rebuilt)
    return ChannelCycles(tuple(done), rebuilt)


def _whole(work: Work, dense: Stage, limits: Mapping[LimitName, float]) -> dict[str, float]:
    """What the dense network has of each limit; shares are 1."""
    if all(name in SHARES for name in limits):
        return dict.fromkeys(limits, 1.0)
    ground = open_ground(network(dense), work.recipe, work.target)
    found = reached(ground.cost, ground.cost.units)
    return {name: 1.0 if name in SHARES else found[name] for name in limits}


def _budget(
    limits: Mapping[LimitName, float], whole: Mapping[str, float], left: Mapping[str, float], way: float
) -> Budget | None:
    """A cycle's limits, of shares relative to what is left; None where they hold already. `way`: there, from 0 to 1."""
    found: dict[str, float] = {}
    for name, limit in limits.items():
        final = 1 - limit if name == "sparsity" else limit
        wanted = whole[name] + (final - whole[name]) * way
        if name not in SHARES:
            found[name] = wanted
            continue
        share = round(wanted / left[name], DIGITS)
        if share < 1:
            found[name] = 1 - share if name == "sparsity" else share
    holds = all(name not in SHARES and left[name] <= found[name] for name in found)
    return None if holds else Budget.model_validate(found)


def _told(work: Work, cycle: int, count: int) -> Work:
    return replace(work, tick=lambda what, done, total: work.tick(f"cycle {cycle} of {count}: {what}", done, total))


def _summary(work: Work, last: Stage, left: _Left) -> Stage:
    """The last network, and what all cycles cut from the dense one."""
    limits = dict(work.recipe.budget.limits)

    def make(folder: Path) -> None:
        reports = [_report(cut) for cut in left.cuts]
        kept: dict[str, list[int]] = {}
        for report in reports:
            for name, (stay, before) in report["kept"].items():
                kept[name] = [stay, kept[name][1] if name in kept else before]
        found = {name: 1 - share if name == "sparsity" else share for name, share in left.of.items()}
        whole: dict[str, Any] = reports[-1] | {
            "kept": kept,
            "budget": limits,
            "reached": reports[-1]["reached"] | found,
        }
        (folder / CUTS).write_text(json.dumps(whole, indent=2), encoding="utf-8")
        shutil.copyfile(last.path / NETWORK, folder / NETWORK)
        if (last.path / MERGED).is_file():
            shutil.copyfile(last.path / MERGED, folder / MERGED)

    return work.run.stage("cycles", limits, [*left.cuts, last], make)


def _report(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage.path / CUTS).read_text(encoding="utf-8"))
    return found
