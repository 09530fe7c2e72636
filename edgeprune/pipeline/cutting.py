"""The prune stage for channels: chosen under a budget, taken out of the graph, and proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeprune.compact.apply import Compacted, compact_soundly
from edgeprune.compact.implant import implanted
from edgeprune.model.batches import sample
from edgeprune.model.groups import Group
from edgeprune.model.traced import save
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import cutting, open_ground, widths
from edgeprune.pipeline.ranking import Ranked
from edgeprune.pipeline.steps import NETWORK, Work, network
from edgeprune.pruning import hap
from edgeprune.pruning.coupling import choose
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.plan import Prunable
from edgeprune.spec.budget import Budget


def prune(work: Work, dense: Stage, ranked: Ranked, budget: Budget, whole: Stage | None = None) -> Stage:
    """Choose the cuts under a budget, take them out of the graph, and prove that nothing else changed.

    `whole`: holds the network before it was cut at all, if it was.
    """
    recipe = work.recipe

    def make(folder: Path) -> None:
        traced = network(dense)
        ground = open_ground(traced, recipe, work.target)
        scores = ranked.scores(work, traced, ground)
        limits = widths(recipe, work.target, network(whole) if whole is not None else None)
        x, _ = sample(work.data.train, work.data.preprocessing, 8, recipe.seed)
        work.tick("compacting", 0, 1)

        def chosen(free: list[Group]) -> Cuts:
            return choose(ground, scores, budget, limits, free, recipe.implant_ratio)

        done = implanted(compact_soundly(traced, ground.found, ground.groups, chosen, x), ground, x)
        work.tick("compacting", 1, 1)
        save(done.traced, folder / NETWORK)
        kept = {name: count for name, (count, _) in done.cuts.kept.items()}
        doubt = hap.certain_share(scores, kept, recipe.curvature.confidence) if scores.standard_error else None
        scoring = {"probes": scores.samples, "measured": bool(scores.measured), "certain_share": doubt}
        report = cuts_report(done, ground, budget) | {"implant_ratio": recipe.implant_ratio} | scoring
        (folder / "cuts.json").write_text(json.dumps(report, indent=2), encoding="utf-8")

    settings = [
        recipe.method,
        recipe.trace_floor,
        recipe.training.epochs > 0,
        recipe.rebuilds,
        cutting(budget, recipe, work.target),
        recipe.curvature.confidence,
    ]
    inputs = [dense, *ranked.stages, *([whole] if whole is not None else [])]
    return work.run.stage("prune", settings, inputs, make)


def cuts_report(done: Compacted, ground: Prunable, budget: Budget) -> dict[str, Any]:
    """What `cuts.json` says of cut channels."""
    return {
        "kept": done.cuts.kept,
        "units": sorted(done.cuts.units),
        "implanted": done.cuts.implanted,
        "budget": budget.limits,
        "reached": done.cuts.reached,
        "latency_from": ground.cost.latency_from,
        "proof": {"float32": done.proof.float32, "float64": done.proof.float64},
        "frozen": ground.found.frozen,
        "approximate": ground.found.approximate,
        "refused": done.refused,
        "spread": done.spread,
    }
