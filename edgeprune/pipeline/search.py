"""The smallest network whose accuracy drops by no more than the recipe allows, by bisection.

Accuracy is that of the validation images. It falls about steadily with the share of multiply-adds, so each trial
halves the range in which the answer lies: a cut, and a short fine-tuning. Every trial is a stage of its own, found
again by its budget; the scores serve them all. A longer training and INT8 come after: the drop of the network that
ships is stated beside what was asked.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.model.evaluate import accuracy
from edgeprune.pipeline import cutting, steps
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import freezing, open_ground, widths
from edgeprune.pipeline.ranking import Ranked
from edgeprune.pipeline.steps import Work
from edgeprune.pruning.coupling import smallest
from edgeprune.spec.budget import Budget
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.result import Search, Trial

DIGITS = 3
"""Of a budget that is tried: its stage is found again by it."""
PRECISION = 2e-3
"""Share of multiply-adds below which the search has ended."""


def search(work: Work, dense: Stage, ranked: Ranked, max_drop: float) -> tuple[list[Stage], Budget, Search]:
    """Return the stages, the smallest budget that keeps the drop, and the trials.

    Raises:
        EdgepruneError: no trial kept it.
    """
    base = baseline(work, dense, ranked)
    found = json.loads((base.path / "baseline.json").read_text(encoding="utf-8"))
    low, high, best = float(found["smallest_macs"]), 1.0, None
    stages, count = [base], work.recipe.search.trials
    trials: list[Trial] = []
    while len(trials) < count and high - low > PRECISION:
        budget = Budget(macs=round((low + high) / 2, DIGITS))
        assert budget.macs is not None
        pruned = cutting.prune(work, dense, ranked, budget)
        label = f"trial {len(trials) + 1} of {count}, --macs {budget.macs:g}"
        tuned = steps.trial(work, dense, pruned, label)
        stages += [pruned, tuned]
        trial = _trial(budget.macs, pruned, tuned, found["val_accuracy"], max_drop)
        trials.append(trial)
        if trial.within:  # what was reached may be less than was allowed
            high, best = min(budget.macs, trial.macs_reached), budget
        else:
            low = budget.macs
    if best is None:
        raise EdgepruneError(_none_within(max_drop, trials, work.recipe))
    tried = Search(max_drop=max_drop, dense_val_accuracy=found["val_accuracy"], trials=tuple(trials))
    return stages, best, tried


def _trial(macs: float, pruned: Stage, tuned: Stage, dense: float, max_drop: float) -> Trial:
    report = json.loads((pruned.path / "cuts.json").read_text(encoding="utf-8"))
    reached, right = float(report["reached"]["macs"]), steps.best_accuracy(tuned)
    # Accuracies are shares of whole images: a drop of one more than allowed is seen, a rounding is not.
    within = dense - right <= max_drop + 1e-9
    return Trial(macs=macs, macs_reached=reached, val_accuracy=right, drop=dense - right, within=within)


def _none_within(max_drop: float, trials: list[Trial], recipe: Recipe) -> str:
    if not trials:
        return f"--max-drop {max_drop:g}: hardly anything of this network can be cut. Keep fewer layers."
    last, more = trials[-1], recipe.search
    return (
        f"--max-drop {max_drop:g}: none of {len(trials)} trials kept it; the largest, --macs {last.macs:g}, lost "
        f"{last.drop:.4f}. Allow more, or train longer with --trial-epochs {more.epochs + 1}."
    )


def baseline(work: Work, dense: Stage, ranked: Ranked) -> Stage:
    """What a trial is held against, and the least that can be left."""
    recipe = work.recipe

    def make(folder: Path) -> None:
        work.tick("validating the dense network", 0, 1)
        traced = work.load(dense)
        ground = open_ground(traced, recipe, work.target)
        scores = ranked.scores(work, traced, ground)
        found = {
            "val_accuracy": accuracy(traced.module, work.data.val, work.data.preprocessing).value,
            "smallest_macs": smallest(ground, widths(recipe, work.target), scores)["macs"],
        }
        (folder / "baseline.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        work.tick("validating the dense network", 1, 1)

    settings = [
        recipe.method,
        recipe.trace_floor,
        *freezing(recipe),
        recipe.max_layer_sparsity,
        work.target.channel_multiple.value,
    ]
    return work.run.stage("baseline", settings, [dense, *ranked.stages], make, work.data.fingerprint)
