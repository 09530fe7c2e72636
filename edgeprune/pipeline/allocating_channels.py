"""AMP-HASA's cycle on channels: groups of them are thinned within a budget of multiply-adds, bytes or milliseconds."""

from __future__ import annotations

import json
import math
from pathlib import Path

from edgeprune.compact.apply import compact_soundly
from edgeprune.curvature.curvature import load_curvature
from edgeprune.model.batches import sample
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline import allocating, curving
from edgeprune.pipeline.allocated import Cutting
from edgeprune.pipeline.allocating import Pruned, Turn
from edgeprune.pipeline.cutting import cuts_report
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import cutting, open_ground, widths
from edgeprune.pipeline.steps import NETWORK, TRACES, Work, network
from edgeprune.pruning.budget import bounds_of
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.greedy import Bound
from edgeprune.pruning.quantity import value


def prune(work: Work, dense: Stage) -> Pruned:
    """Cut channels in cycles."""
    return allocating.cycles(work, dense, _cycle)


def _cycle(turn: Turn) -> tuple[Stage, Stage | None, Stage]:
    scored = curving.curvature(turn.work, turn.before, whole=turn.number == 1)
    assert scored is not None, "the method needs it"
    divided = _divide(turn, scored)
    return scored, divided, _cut(turn, scored, divided)


def _cutting(turn: Turn, traced: Traced, scored: Stage) -> Cutting:
    work, recipe = turn.work, turn.work.recipe
    ground, traces = open_ground(traced, recipe, work.target), load_curvature(scored.path / TRACES)
    limits = widths(recipe, work.target)
    if recipe.amp_hasa.cycles == 1:
        return Cutting(traced, ground, traces, limits, tuple(bounds_of(ground.cost, recipe.budget)))
    dense = open_ground(network(turn.dense), recipe, work.target)
    bounds = []
    for name, bound in zip(recipe.budget.limits, bounds_of(dense.cost, recipe.budget), strict=True):
        whole = value(dense.cost.quantities[name], dense.cost.units)
        limit = whole - turn.share * max(0.0, whole - bound.limit)
        bounds.append(Bound(ground.cost.quantities[name], limit))
    floors = {
        group.name: math.ceil(len(group.units) * (1 - recipe.max_layer_sparsity) - 1e-9) for group in dense.groups
    }
    return Cutting(traced, ground, traces, limits, tuple(bounds), floors, dense.cost)


def _divide(turn: Turn, scored: Stage) -> Stage:
    work, asked = turn.work, turn.work.recipe.amp_hasa

    def make(folder: Path) -> None:
        traced, last = work.load(turn.before), turn.last
        posed = _cutting(turn, traced, scored)
        start = dict(zip(last.parts, last.moves, strict=True)) if last is not None else None
        allocating.divide(turn, traced, lambda strength: posed.problem(asked, strength, start), folder)

    settings = [*allocating.settings(turn), cutting(work.recipe.budget, work.recipe, work.target)]
    inputs = [turn.dense, turn.before, scored, *([turn.divided] if turn.divided is not None else [])]
    return work.run.stage("allocation", settings, inputs, make)


def _cut(turn: Turn, scored: Stage, divided: Stage) -> Stage:
    """Take the channels out of the graph, and prove that nothing else changed."""
    work, recipe = turn.work, turn.work.recipe

    def make(folder: Path) -> None:
        traced, found = network(turn.before), allocating.read(divided)
        posed = _cutting(turn, traced, scored)
        problem, ground = posed.problem(recipe.amp_hasa, found.strength), posed.ground
        x, _ = sample(work.data.train, work.data.preprocessing, 8, recipe.seed)
        work.tick("compacting", 0, 1)

        def chosen(free: list[Group]) -> Cuts:
            return posed.cuts(problem, found.kept, free)

        done = compact_soundly(traced, ground.found, ground.groups, chosen, x)
        work.tick("compacting", 1, 1)
        save(done.traced, folder / NETWORK)
        report = cuts_report(done, ground, recipe.budget) | {"probes": posed.curvature.probes}
        (folder / "cuts.json").write_text(json.dumps(report, indent=2), encoding="utf-8")

    settings = cutting(recipe.budget, recipe, work.target)
    return work.run.stage("prune", settings, [turn.dense, turn.before, scored, divided], make)
