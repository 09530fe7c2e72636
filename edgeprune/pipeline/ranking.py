"""What ranks the channels: the method's scores, and what cuts were measured to cost, once for all budgets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeprune.compact.sensitivity import MOST, before_training, sensitivities
from edgeprune.curvature.curvature import load_curvature
from edgeprune.curvature.low_rank import load_low_rank
from edgeprune.model.batches import sample
from edgeprune.model.traced import Traced
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import freezing, open_ground, widths
from edgeprune.pipeline.steps import EIGENPAIRS, TRACES, Work, network
from edgeprune.pruning.methods import METHODS, Curved
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.score import Curve, Scores

CURVES = "curves.json"


@dataclass(frozen=True)
class Ranked:
    """The stages behind the scores: of the curvature, for methods that need it, and of the cuts' measured costs."""

    curvature: Stage | None
    measured: Stage | None = None

    @property
    def stages(self) -> list[Stage]:
        return [stage for stage in (self.curvature, self.measured) if stage is not None]

    def scores(self, work: Work, traced: Traced, ground: Prunable) -> Scores:
        """The scores of the recipe's method, with what was measured."""
        scores = METHODS[work.recipe.method](traced.module, ground.groups, self._curved(), work.recipe.trace_floor)
        if self.measured is None:
            return scores
        curves = json.loads((self.measured.path / CURVES).read_text(encoding="utf-8"))
        found = {name: Curve(tuple(curve["kept"]), tuple(curve["lost"])) for name, curve in curves.items()}
        trained = work.recipe.training.epochs > 0 and not work.recipe.rebuilds
        return replace(scores, measured=before_training(found) if trained else found)

    def _curved(self) -> Curved:
        if self.curvature is None:
            return None
        pairs = self.curvature.path / EIGENPAIRS
        return load_low_rank(pairs) if pairs.is_file() else load_curvature(self.curvature.path / TRACES)


def rank(work: Work, dense: Stage, curvature: Stage | None, whole: Stage | None = None) -> Ranked:
    """Measure what each group's cuts cost, unless the scores alone are to decide.

    `whole`: holds the network before it was cut at all, if it was.
    """
    recipe = work.recipe
    if recipe.allocation == "scores" or recipe.coupling == "union":
        return Ranked(curvature)

    def make(folder: Path) -> None:
        traced = work.load(dense)
        ground = open_ground(traced, recipe, work.target)
        scores = Ranked(curvature).scores(work, traced, ground)
        limits = widths(recipe, work.target, network(whole) if whole is not None else None)
        x, _ = sample(work.data.train, work.data.preprocessing, MOST, recipe.seed)
        found = sensitivities(traced, ground.found, ground.groups, scores, limits, x, work.tick)
        text = json.dumps({name: asdict(curve) for name, curve in found.items()}, indent=2)
        (folder / CURVES).write_text(text, encoding="utf-8")

    settings = [
        recipe.method,
        recipe.trace_floor,
        recipe.seed,
        *freezing(recipe),
        recipe.max_layer_sparsity,
        work.target.channel_multiple.value,
    ]
    inputs = [dense, *Ranked(curvature).stages, *([whole] if whole is not None else [])]
    return Ranked(curvature, work.run.stage("sensitivity", settings, inputs, make))
