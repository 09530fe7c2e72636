"""compress(): the steps in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import load_data
from edgeprune.model.load import default_image_size
from edgeprune.pipeline import (
    allocating_channels,
    allocating_masks,
    curving,
    cutting,
    cycling,
    deliver,
    gain,
    masking,
    precision,
    ranking,
    rebuilding,
    steps,
)
from edgeprune.pipeline.channel_cycles import channel_cycles
from edgeprune.pipeline.folder import Stage, open_run
from edgeprune.pipeline.ground import check_source
from edgeprune.pipeline.search import search
from edgeprune.pipeline.steps import Work
from edgeprune.progress import Tell, Tick, silent, untold
from edgeprune.spec.pattern import no_speed, parse_pattern
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.result import Allocation, Result, Search, Spectrum
from edgeprune.spec.target import load_target


@dataclass(frozen=True)
class Outcome:
    """What a run has so far: the stages that are done, in order, the result once there is one, and any trials."""

    stages: tuple[Stage, ...]
    result: Result | None
    search: Search | None = None


def compress(recipe: Recipe, run: Path, tick: Tick = silent, tell: Tell = untold) -> Outcome:
    """Run the whole chain in a run directory; what is done there already is not done again.

    `tell` hears what the chosen pattern will not bring, before the work on it begins.

    Raises:
        EdgepruneError: anything that the user can mend.
    """
    outcome: Outcome = _in_run(recipe, run, tick, tell, lambda work: _deliver(work, *_quantized(work)))
    return outcome


def prune(recipe: Recipe, run: Path, tick: Tick = silent, tell: Tell = untold) -> Outcome:
    """Run the chain up to the pruned, fine-tuned network."""

    def go(work: Work) -> Outcome:
        pruned = _pruned(work)
        return Outcome(pruned.stages, None, pruned.search)

    outcome: Outcome = _in_run(recipe, run, tick, tell, go)
    return outcome


def quantize(recipe: Recipe, run: Path, tick: Tick = silent, tell: Tell = untold) -> Outcome:
    """Run the chain up to the network trained in INT8."""

    def go(work: Work) -> Outcome:
        pruned, made = _quantized(work)
        return Outcome(_unique([*pruned.stages, *made]), None, pruned.search)

    outcome: Outcome = _in_run(recipe, run, tick, tell, go)
    return outcome


def diagnose(recipe: Recipe, run: Path, tick: Tick = silent, tell: Tell = untold) -> Stage:
    """Run the chain up to INT8, and look for where it loses accuracy.

    Raises:
        EdgepruneError: the run stays in float, or anything else that the user can mend.
    """
    if recipe.precision == "fp32":
        raise EdgepruneError(f"{run}: stays in float, so there is no INT8 to diagnose. Run one without --fp32.")

    def go(work: Work) -> Stage:
        pruned = _pruned(work)
        trained = steps.quantize(work, pruned.dense, pruned.cut, pruned.tuned)
        return precision.diagnosis(work, pruned.tuned, trained)

    found: Stage = _in_run(recipe, run, tick, tell, go)
    return found


@dataclass(frozen=True)
class _Pruned:
    """The stages so far, those of them that go on, and the trials that chose the budget."""

    stages: tuple[Stage, ...]
    dense: Stage
    cut: Stage
    tuned: Stage
    search: Search | None
    spectrum: Spectrum | None
    allocations: tuple[Allocation, ...] = ()


def _pruned(work: Work) -> _Pruned:
    dense = steps.dense(work)
    if work.recipe.method == "amp-hasa":
        return _allocated(work, dense)
    if parse_pattern(work.recipe.pattern).masks:
        return _masked(work, dense)
    if work.recipe.method == "camp-hive":
        merged = channel_cycles(work, dense)
        tuned = steps.finetune(work, dense, merged.cut)
        return _Pruned(_unique([dense, *merged.stages, tuned]), dense, merged.cut, tuned, None, None)
    scored = curving.curvature(work, dense)
    ranked = ranking.rank(work, dense, scored)
    budget = work.recipe.budget
    tried: list[Stage] = []
    found = None
    if budget.max_drop is not None:
        tried, budget, found = search(work, dense, ranked, budget.max_drop)
    cut = cutting.prune(work, dense, ranked, budget)
    rebuilt = rebuilding.rebuild(work, dense, cut)
    tuned = steps.finetune(work, dense, rebuilt)
    return _Pruned(
        _unique([dense, *ranked.stages, *tried, cut, rebuilt, tuned]),
        dense,
        rebuilt,
        tuned,
        found,
        curving.read_spectrum(scored),
    )


def _allocated(work: Work, dense: Stage) -> _Pruned:
    masks = parse_pattern(work.recipe.pattern).masks
    if masks and (narrow := masking.too_narrow(work, dense)):
        work.tell(narrow)
    done = (allocating_masks if masks else allocating_channels).prune(work, dense)
    rebuilt = rebuilding.rebuild(work, dense, done.cut)
    tuned = steps.finetune(work, dense, rebuilt)
    stages = _unique([dense, *done.stages, rebuilt, tuned])
    scored = done.stages[0] if not masks else None
    return _Pruned(stages, dense, rebuilt, tuned, None, curving.read_spectrum(scored), done.allocations)


def _masked(work: Work, dense: Stage) -> _Pruned:
    if narrow := masking.too_narrow(work, dense):
        work.tell(narrow)
    if work.recipe.method == "camp-hive":
        cycled = cycling.cycles(work, dense)
        tuned = steps.finetune(work, dense, cycled.cut)
        return _Pruned(_unique([dense, *cycled.stages, tuned]), dense, cycled.cut, tuned, None, None)
    scored = masking.curvature(work, dense)
    cut = masking.prune(work, dense, scored)
    rebuilt = rebuilding.rebuild(work, dense, cut)
    tuned = steps.finetune(work, dense, rebuilt)
    stages = _unique([dense, *([scored] if scored else []), cut, rebuilt, tuned])
    return _Pruned(stages, dense, rebuilt, tuned, None, None)


def _quantized(work: Work) -> tuple[_Pruned, tuple[Stage, ...]]:
    """The stages up to the network that ships, the last one holding it."""
    pruned = _pruned(work)
    trained = steps.quantize(work, pruned.dense, pruned.cut, pruned.tuned)
    settled = (trained, *precision.settle(work, pruned.tuned, trained))
    return pruned, (*settled, gain.gain(work, pruned.tuned, settled[-1]))


def _deliver(work: Work, pruned: _Pruned, made: tuple[Stage, ...]) -> Outcome:
    final = made[-1]
    networks = deliver.Networks(pruned.dense, pruned.cut, pruned.tuned, final)
    exported = deliver.export(work, networks)
    judged = deliver.judge(work, networks, exported)
    stages = _unique([*pruned.stages, *made, exported, judged])
    seconds: dict[str, float] = {}
    for stage in stages:
        seconds[stage.name] = round(seconds.get(stage.name, 0.0) + stage.seconds, 3)
    result = deliver.bundle(
        work, networks, exported, judged, seconds, pruned.search, pruned.spectrum, pruned.allocations
    )
    return Outcome(stages, result, pruned.search)


def _unique(stages: list[Stage]) -> tuple[Stage, ...]:
    """Each stage once, where it came first: the cut that was chosen is also that of a trial."""
    return tuple(
        {stage.path: stage for stage in reversed(stages)}[path] for path in dict.fromkeys(s.path for s in stages)
    )


def _in_run(recipe: Recipe, path: Path, tick: Tick, tell: Tell, steps_of: Callable[[Work], Any]) -> Any:
    target = load_target(recipe.target)
    if slow := no_speed(parse_pattern(recipe.pattern), target):
        tell(slow)
    check_source(recipe)
    size = recipe.source.image_size or default_image_size(recipe.source.model)
    data = load_data(recipe.source, size, recipe.seed, tick)
    with open_run(path, recipe) as run:
        return steps_of(Work(run, data, target, tick, tell))
