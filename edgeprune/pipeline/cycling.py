"""CAMP-HiVe's cycles on single weights: curvature, a cut with its merge, and training, each a stage of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgeprune.curvature.low_rank import load_low_rank, save_low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.merging.cycle import Merging, curve, one_cycle
from edgeprune.merging.selection import schedule
from edgeprune.model.batches import sample
from edgeprune.model.device import move
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline import steps
from edgeprune.pipeline.curving import probing
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.held import MASKS, masks_of
from edgeprune.pipeline.masking import deciding, report, weights_of
from edgeprune.pipeline.steps import CPU, EIGENPAIRS, NETWORK, Work
from edgeprune.progress import Tick
from edgeprune.pruning.masks import Masks, save_masks
from edgeprune.reconstruction.cascade import Walking
from edgeprune.spec.methods import Cycling
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Recipe

LOG = "cycle.json"


@dataclass(frozen=True)
class Cycled:
    """All stages in order, and that of the last cut."""

    stages: tuple[Stage, ...]
    cut: Stage


def merging(asked: Cycling, probes: Probing, most: float, classes: int) -> Merging:
    """The settings as a cycle takes them; `most`: share of a layer that may go."""
    return Merging(
        score=asked.score,
        merge=asked.merge,
        on=asked.merge_on,
        eigenpairs=min(asked.eigenpairs, classes),
        sweeps=asked.sweeps,
        trust=asked.trust,
        guard=asked.guard,
        by_tensor=asked.by_tensor,
        least=1 - most,
        probing=replace(probes, batch_size=asked.batch_size, memory_mb=asked.memory_mb),
        walking=Walking(batch_size=asked.batch_size, memory_mb=asked.memory_mb),
    )


def _merging(recipe: Recipe, classes: int) -> Merging:
    return merging(recipe.camp_hive, probing(recipe), recipe.max_layer_sparsity, classes)


def cycles(work: Work, dense: Stage) -> Cycled:
    """Prune to the recipe's sparsity in cycles."""
    asked = work.recipe.camp_hive
    done: list[Stage] = []
    trained, at, curved = dense, dense, None
    for cycle in range(1, asked.cycles + 1):
        curved = _curvature(work, dense, at, cycle, curved)
        cut = _cycle(work, dense, trained, at, cycle, curved)
        done += [*([curved] if curved is not None else []), cut]
        at = cut
        if asked.between and cycle < asked.cycles:
            label = f"fine-tuning after cycle {cycle} of {asked.cycles}"
            trained = at = steps.between(work, dense, cut, label, asked.between)
            done.append(at)
    return Cycled(tuple(done), cut)


def _curvature(work: Work, dense: Stage, at: Stage, cycle: int, before: Stage | None) -> Stage | None:
    """The eigenpairs and the diagonal of the network as it is, from the vectors of the cycle before."""
    recipe, classes = work.recipe, len(work.data.classes)
    asked = _merging(recipe, classes)
    if not asked.curves:
        return None

    def make(folder: Path) -> None:
        traced, masks = _at(work, dense, at)
        x, y = sample(work.data.train, work.data.preprocessing, recipe.camp_hive.images, recipe.seed)
        start = load_low_rank(before.path / EIGENPAIRS).vectors if before is not None else None
        found = curve(traced, masks.kept, x, y, asked, start, _named(work, cycle))
        save_low_rank(found, folder / EIGENPAIRS)

    settings = [_settings(work), cycle]
    return work.run.stage("curvature", settings, [at, *([before] if before is not None else [])], make)


def _cycle(work: Work, dense: Stage, trained: Stage, at: Stage, cycle: int, curved: Stage | None) -> Stage:
    recipe = work.recipe
    zeros = recipe.budget.sparsity
    assert zeros is not None, "a recipe with a mask pattern holds its share of zeros"
    sparsity = schedule(zeros, cycle, recipe.camp_hive.cycles)

    def make(folder: Path) -> None:
        traced, masks = _at(work, dense, at)
        teacher, _ = _at(work, dense, trained)
        x, y = sample(work.data.train, work.data.preprocessing, recipe.camp_hive.images, recipe.seed)
        asked = _merging(recipe, len(work.data.classes))
        known = load_low_rank(curved.path / EIGENPAIRS) if curved is not None else None
        kept, log = one_cycle(traced, teacher, masks.kept, sparsity, x, y, asked, known, _named(work, cycle))
        now = Masks(masks.pattern, kept, masks.ineligible, masks.narrow)
        save(move(traced, CPU), folder / NETWORK)
        save_masks(now, folder / MASKS)
        (folder / "cuts.json").write_text(json.dumps(report(now, None), indent=2), encoding="utf-8")
        (folder / LOG).write_text(json.dumps(asdict(log), indent=2), encoding="utf-8")

    settings = [_settings(work), cycle, sparsity]
    inputs = list(dict.fromkeys([dense, trained, at]))
    return work.run.stage("cycle", settings, [*inputs, *([curved] if curved is not None else [])], make)


def note(cut: Stage) -> list[str]:
    """What the last cycle did, in a line; nothing where there was none."""
    if not (cut.path / LOG).is_file():
        return []
    log = json.loads((cut.path / LOG).read_text(encoding="utf-8"))
    merged = f"{log['loss_merged']:.3f} with {100 * log['taken']:.0f} % of its merge" if log["taken"] else "no merge"
    return [
        f"CAMP-HiVe: in the last cycle the loss on calibration images went from {log['loss_before']:.3f} to "
        f"{log['loss_cut']:.3f} by the cut, {merged}"
    ]


def _at(work: Work, dense: Stage, at: Stage) -> tuple[Traced, Masks]:
    """The network that a stage left, on the dense one's graph, and its masks."""
    traced = work.load(dense)
    if at is not dense:
        traced.module.load_state_dict(steps.network(at).module.state_dict())
    masks = masks_of(at)
    if masks is None:
        found = weights_of(work, traced)
        kept = {
            name: torch.ones_like(traced.module.get_parameter(name), dtype=torch.bool).cpu() for name in found.weights
        }
        masks = Masks(parse_pattern(work.recipe.pattern), kept, found.reasons, found.narrow)
    return traced, masks


def _named(work: Work, cycle: int) -> Tick:
    count = work.recipe.camp_hive.cycles
    return lambda what, done, total: work.tick(f"cycle {cycle} of {count}: {what}", done, total)


def _settings(work: Work) -> list[Any]:
    recipe = work.recipe
    asked = recipe.camp_hive.model_dump(mode="json", exclude={"between", "memory_mb", "cycles", "preset"})
    probes = [recipe.curvature.matrix, recipe.curvature.precision]
    return [asked, probes, recipe.seed, recipe.max_layer_sparsity, *deciding(work)]
