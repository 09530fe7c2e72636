"""AMP-HASA's stages: in every cycle curvature, allocation and cut, and between two cycles a training.

The share that goes grows with the cycles on a cubic schedule; each has the curvature of the network as it is by then,
and its search starts from where the one before had come to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.allocation.allocate import Pictures, Strength, allocate, check_installed, choose_strength
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.allocation.problem import Problem
from edgeprune.merging.selection import schedule
from edgeprune.model.batches import sample
from edgeprune.model.traced import Traced
from edgeprune.pipeline import steps
from edgeprune.pipeline.allocated import told
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.steps import Work
from edgeprune.spec.result import Allocation

ALLOCATION, TRIALS = "allocation.json", "trials.jsonl"


@dataclass(frozen=True)
class Turn:
    """One cycle: the network that it begins with, and the stages of the cycle before."""

    work: Work
    dense: Stage
    before: Stage
    number: int = 1
    cut: Stage | None = None
    divided: Stage | None = None

    @property
    def share(self) -> float:
        """Of what must go in the end, how much must be gone after this cycle."""
        return schedule(1.0, self.number, self.work.recipe.amp_hasa.cycles)

    @property
    def last(self) -> Allocation | None:
        """What the cycle before had come to."""
        return read(self.divided) if self.divided is not None else None


@dataclass(frozen=True)
class Pruned:
    """All stages, the last cut, and what each cycle's allocation was."""

    stages: list[Stage]
    cut: Stage
    allocations: tuple[Allocation, ...]


Cycle = Callable[[Turn], tuple[Stage, Stage | None, Stage]]
"""From a turn to the stages of its curvature, its allocation (if there is anything to allocate) and its cut."""


def cycles(work: Work, dense: Stage, cycle: Cycle) -> Pruned:
    """Prune in as many cycles as the recipe asks for."""
    asked = work.recipe.amp_hasa
    check_installed(asked)
    turn, stages, allocations = Turn(work, dense, dense), list[Stage](), list[Allocation]()
    while True:
        scored, divided, cut = cycle(turn)
        stages += [stage for stage in (scored, divided, cut) if stage is not None]
        allocations += [read(divided)] if divided is not None else []
        if turn.number == asked.cycles:
            return Pruned(stages, cut, tuple(allocations))
        label = f"training after cycle {turn.number} of {asked.cycles}"
        tuned = steps.between(work, dense, cut, label, asked.cycle_epochs)
        stages.append(tuned)
        turn = replace(turn, before=tuned, number=turn.number + 1, cut=cut, divided=divided)


def pictures(work: Work) -> Pictures:
    """Training images to judge trials on, and validation images for the best of them."""
    asked, data, seed = work.recipe.amp_hasa, work.data, work.recipe.seed
    return Pictures(
        sample(data.train, data.preprocessing, asked.images, seed),
        sample(data.val, data.preprocessing, asked.fresh_images, seed),
    )


def strength(turn: Turn, traced: Traced, shown: Pictures, cut: Callable[[float], tuple[Lot, Kept]]) -> Strength:
    """Chosen in the first cycle, and kept."""
    if turn.last is not None:
        return Strength(turn.last.strength, {})
    return choose_strength(turn.work.recipe.amp_hasa, traced, shown, cut)


def divide(turn: Turn, traced: Traced, problem: Callable[[float], Problem], folder: Path) -> None:
    """Allocate, and write down what came of it. `problem`: from a strength to what is to be solved."""
    work, asked, shown = turn.work, turn.work.recipe.amp_hasa, pictures(turn.work)

    def by_lamp(tried: float) -> tuple[Lot, Kept]:
        posed = problem(tried)
        return posed.lot, posed.by_rule("lamp")

    taken = strength(turn, traced, shown, by_lamp)
    posed = problem(taken.taken)
    found = allocate(traced, posed, shown, asked, work.recipe.seed, folder / TRIALS, work.tick)
    if found.ended == "interrupted":
        work.tell(
            f"search stopped after {len(found.trials)} of {asked.evaluations} trials; going on with the best of them "
            "(interrupt again to stop)"
        )
    content = told(asked, posed, found, taken)
    (folder / ALLOCATION).write_text(content.model_dump_json(indent=2), encoding="utf-8")


def settings(turn: Turn) -> list[object]:
    """What decides an allocation, besides the network and its curvature."""
    recipe = turn.work.recipe
    asked = recipe.amp_hasa.model_dump(mode="json", exclude={"ray", "cycles", "cycle_epochs", "curvature"})
    return [asked, recipe.seed, turn.share]


def read(divided: Stage) -> Allocation:
    return Allocation.model_validate_json((divided.path / ALLOCATION).read_text(encoding="utf-8"))
