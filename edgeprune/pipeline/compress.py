"""compress(): the steps in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import load_data
from edgeprune.model.load import default_image_size, starts_random
from edgeprune.pipeline import deliver, steps
from edgeprune.pipeline.folder import Stage, open_run
from edgeprune.pipeline.steps import Work
from edgeprune.progress import Tick, silent
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.result import Result
from edgeprune.spec.target import load_target


@dataclass(frozen=True)
class Outcome:
    """What a run has so far: the stages that are done, in order, and the result once there is one."""

    stages: tuple[Stage, ...]
    result: Result | None


def compress(recipe: Recipe, run: Path, tick: Tick = silent) -> Outcome:
    """Run the whole chain in a run directory; what is done there already is not done again.

    Raises:
        EdgepruneError: anything that the user can mend.
    """
    return _in_run(recipe, run, tick, lambda work: _deliver(work, *_quantized(work)))


def prune(recipe: Recipe, run: Path, tick: Tick = silent) -> Outcome:
    """Run the chain up to the pruned, fine-tuned network."""
    return _in_run(recipe, run, tick, lambda work: Outcome(tuple(_pruned(work)), None))


def quantize(recipe: Recipe, run: Path, tick: Tick = silent) -> Outcome:
    """Run the chain up to the network trained in INT8."""
    return _in_run(recipe, run, tick, lambda work: Outcome(tuple(_quantized(work)[0]), None))


def _pruned(work: Work) -> list[Stage]:
    dense = steps.dense(work)
    scored = steps.curvature(work, dense)
    pruned = steps.prune(work, dense, scored)
    tuned = steps.finetune(work, dense, pruned)
    return [stage for stage in (dense, scored, pruned, tuned) if stage is not None]


def _quantized(work: Work) -> tuple[list[Stage], deliver.Networks]:
    done = _pruned(work)
    dense, tuned = done[0], done[-1]
    final = steps.quantize(work, dense, tuned)
    networks = deliver.Networks(dense, done[-2], tuned, final)
    return ([*done, final] if final is not tuned else done), networks


def _deliver(work: Work, done: list[Stage], networks: deliver.Networks) -> Outcome:
    exported = deliver.export(work, networks)
    judged = deliver.judge(work, networks, exported)
    stages = (*done, exported, judged)
    seconds = {stage.name: stage.seconds for stage in stages}
    return Outcome(stages, deliver.bundle(work, networks, exported, judged, seconds))


def _in_run(recipe: Recipe, path: Path, tick: Tick, steps_of: Callable[[Work], Any]) -> Outcome:
    target = load_target(recipe.target)
    _check_source(recipe)
    size = recipe.source.image_size or default_image_size(recipe.source.model)
    data = load_data(recipe.source, size, recipe.seed, tick)
    with open_run(path, recipe) as run:
        outcome: Outcome = steps_of(Work(run, data, target, tick))
        return outcome


def _check_source(recipe: Recipe) -> None:
    source = recipe.source
    if starts_random(source.model) and source.weights is None and not recipe.training.dense_epochs:
        raise EdgepruneError(
            f"{source.model} comes without trained weights. Give --weights FILE, or --dense-epochs N to train it first."
        )
