"""AMP-HASA on a network that is at hand: curvature, scores, and the problem that an allocation solves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from edgeprune.allocation.allocate import Strength
from edgeprune.allocation.parts import Kept, group_lot, mask_lot
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.projection import Exactly, Within, logits_of, shifted
from edgeprune.allocation.search import Found
from edgeprune.allocation.trials import Trial
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.diagonal import diagonal
from edgeprune.curvature.fisher import fisher_diagonal
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.pruning.amp_hasa import Weighing, scores, weight_scores
from edgeprune.pruning.budget import reached
from edgeprune.pruning.cost import Cost
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.greedy import Bound, holds
from edgeprune.pruning.levels import Limits, ladder
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Counts, Floats
from edgeprune.spec.methods import Allocating, Diagonal
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.result import Allocation, Course


def weighing(asked: Allocating, strength: float) -> Weighing:
    return Weighing(asked.form, asked.sign, strength, asked.pooled)


def diagonals(
    traced: Traced,
    weights: Sequence[str],
    kind: Diagonal,
    images: tuple[Tensor, Tensor],
    probing: Probing,
    tick: Tick = silent,
) -> dict[str, Tensor]:
    """The curvature of single weights: name -> float32 of its shape, on the CPU."""
    x, y = images
    if kind == "hutchinson":
        found = diagonal(Matrix(traced, [*weights], x, y, probing), probing.probes, probing.seed, tick)
    else:
        labels = {"fisher": "sampled", "empirical": "true"}[kind]
        found = fisher_diagonal(traced, weights, x, y, probing, labels, tick)  # type: ignore[arg-type]
    return {name: estimate.value.float().cpu().contiguous() for name, estimate in found.items()}


@dataclass(frozen=True)
class Masking:
    """A network whose single weights, or blocks of them, go. `zeros`: share of them; `live`: masks of before."""

    traced: Traced
    diagonals: Mapping[str, Tensor]
    pattern: Pattern
    zeros: float
    live: Mapping[str, Tensor] | None = None

    def scores(self, how: Weighing) -> dict[str, Tensor]:
        return weight_scores(self.traced.module, self.diagonals, how, self.live)

    def problem(self, asked: Allocating, strength: float, start: Mapping[str, float] | None = None) -> Problem:
        """Raises EdgepruneError: the share of zeros cannot be reached."""
        found = self.scores(weighing(asked, strength))
        lot = mask_lot(self.traced, found, self.pattern, asked.least, self.live)
        return _problem(Problem.of(lot, Exactly.of(lot, self.zeros), asked.spread), start)


@dataclass(frozen=True)
class Cutting:
    """A network whose channels go, within bounds on what it costs.

    `floors`: group -> units that stay in any case; `dense`: the cost of the network before it was cut at all.
    """

    traced: Traced
    ground: Prunable
    curvature: Curvature
    limits: Limits
    bounds: tuple[Bound, ...]
    floors: Mapping[str, int] = field(default_factory=dict)
    dense: Cost | None = None

    def problem(self, asked: Allocating, strength: float, start: Mapping[str, float] | None = None) -> Problem:
        """Raises EdgepruneError: no widths meet the bounds."""
        groups = self.ground.groups
        found = scores(self.traced.module, groups, self.curvature, weighing(asked, strength))
        ladders = tuple(self._ladder(group) for group in groups)
        lot = group_lot(self.traced, self.ground.found, groups, found, ladders)
        if not holds(self.bounds, lot.least):
            raise EdgepruneError("the budget of this cycle cannot be met by any widths. Take fewer cycles.")
        return _problem(Problem.of(lot, Within(lot, ladders, self.bounds), asked.spread), start)

    def _ladder(self, group: Group) -> Counts:
        counts = np.sort(ladder(group, self.limits))
        above = counts[counts >= self.floors.get(group.name, 0)]
        found: Counts = above if len(above) else counts[-1:]
        return found

    def cuts(self, problem: Problem, kept: Kept, free: Sequence[Group]) -> Cuts:
        """What an allocation cuts, groups that are not free being left whole for what others lose more."""
        names = {group.name for group in free}
        goal, lot = problem.goal, problem.lot
        counts = np.array(kept, dtype=np.int64)
        if isinstance(goal, Within) and len(names) < len(lot.parts):
            whole = [part.name not in names for part in lot.parts]
            pairs = zip(goal.ladders, lot.units, whole, strict=True)
            ladders = tuple(np.array([units]) if stays else rungs for rungs, units, stays in pairs)
            least = np.array([rungs[0] for rungs in ladders])
            if not holds(self.bounds, least):
                raise EdgepruneError("the budget cannot be met with the groups that are left whole. Ask for less.")
            counts = replace(goal, ladders=ladders).fit(shifted(logits_of(counts, lot.units)))
        units: set[int] = set()
        for part, group, count in zip(lot.parts, self.ground.groups, counts, strict=True):
            units.update(group.units[i] for i in np.argsort(-part.scores, kind="stable")[count:].tolist())
        sizes = {group.name: (int(n), len(group.units)) for group, n in zip(self.ground.groups, counts, strict=True)}
        return Cuts(frozenset(units), sizes, reached(self.ground.cost, counts, self.dense))


def _problem(problem: Problem, start: Mapping[str, float] | None) -> Problem:
    """The problem, from where an earlier cycle's search had come to."""
    if not start:
        return problem
    moves: Floats = np.array([start.get(part.name, 0.0) for part in problem.lot.parts])
    return replace(problem, base=problem.base + moves)


def told(asked: Allocating, problem: Problem, found: Found, strength: Strength) -> Allocation:
    """What there is to tell of an allocation, for the report and for the next cycle."""
    fresh = {finalist.kept: finalist.fresh for finalist in found.finalists}
    return Allocation(
        allocator=asked.allocator,
        ended=found.ended,
        asked=asked.evaluations if found.trials else 0,
        strength=strength.taken,
        strengths={f"{value:g}": reward for value, reward in strength.rewards.items()},
        parts=tuple(part.name for part in problem.lot.parts),
        units=tuple(part.units for part in problem.lot.parts),
        lamp=problem.by_rule("lamp"),
        kept=found.kept,
        moves=tuple(problem.moves(found.kept).tolist()),
        rewards=tuple(trial.reward for trial in found.trials),
        course=_course(found.trials),
        fresh=fresh.get(found.kept),
        fresh_start=fresh.get(found.trials[0].kept) if found.trials else None,
        seconds=found.seconds,
        judging=found.judging,
    )


def _course(trials: Sequence[Trial]) -> tuple[Course, ...]:
    """The middles of a search's rounds; of a search that has none, the best so far whenever it became better."""
    found: list[Course] = []
    middles = any(trial.kind == "mean" for trial in trials)
    for number, trial in enumerate(trials, 1):
        better = not found or trial.reward > found[-1].reward
        if trial.kind in ("base", "mean") if middles else better:
            found.append(Course(trials=number, reward=trial.reward, kept=trial.kept))
    return tuple(found)
