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
from edgeprune.merging.selection import check_sparsity, schedule
from edgeprune.model.batches import sample
from edgeprune.model.device import move
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline import steps
from edgeprune.pipeline.curving import probing
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.held import MASKS, masks_of
from edgeprune.pipeline.masking import deciding, eligible_of, masks_report
from edgeprune.pipeline.steps import CPU, EIGENPAIRS, NETWORK, Work
from edgeprune.progress import Tick
from edgeprune.pruning.masks import Masks, save_masks
from edgeprune.reconstruction.cascade import Walking
from edgeprune.spec.methods import Cycling
from edgeprune.spec.pattern import parse_pattern

LOG = "cycle.json"


@dataclass(frozen=True)
class Cycled:
    """All stages in order, and that of the last cut."""

    stages: tuple[Stage, ...]
    cut: Stage


@dataclass(frozen=True)
class _At:
    """Where the cycles are: the dense network, the one last trained, the one as it is, and the cut that holds."""

    dense: Stage
    trained: Stage
    now: Stage
    cut: Stage | None = None

    @property
    def stages(self) -> list[Stage]:
        return list(dict.fromkeys(s for s in (self.dense, self.trained, self.now, self.cut) if s is not None))


def merging(asked: Cycling, probes: Probing, most: float, classes: int) -> Merging:
    """The settings as a cycle takes them; `most`: share of a layer that may go."""
    return Merging(
        score=asked.ranked_by("unstructured"),
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


def _merging(work: Work) -> Merging:
    recipe = work.recipe
    return merging(recipe.camp_hive, probing(recipe), recipe.max_layer_sparsity, len(work.data.classes))


def cycles(work: Work, dense: Stage) -> Cycled:
    """Prune to the recipe's sparsity in cycles."""
    asked = work.recipe.camp_hive
    count = asked.count(work.recipe.pattern)
    traced = steps.network(dense)
    shapes = [traced.module.get_parameter(name).shape for name in eligible_of(work, traced).weights]
    check_sparsity(shapes, _zeros(work), _merging(work).least, asked.by_tensor)
    done: list[Stage] = []
    at, curved, cut = _At(dense, dense, dense), None, dense
    for cycle in range(1, count + 1):
        curved = _curvature(work, at, cycle, curved)
        cut = _cycle(work, at, cycle, curved)
        done += [*([curved] if curved is not None else []), cut]
        at = replace(at, now=cut, cut=cut)
        if asked.between and cycle < count:
            label = f"fine-tuning after cycle {cycle} of {count}"
            tuned = steps.between(work, dense, cut, label, asked.between)
            at = replace(at, now=tuned, trained=tuned)
            done.append(tuned)
    return Cycled(tuple(done), cut)


def _curvature(work: Work, at: _At, cycle: int, before: Stage | None) -> Stage | None:
    """The eigenpairs and the diagonal of the network as it is, from the vectors of the cycle before."""
    recipe, asked = work.recipe, _merging(work)
    if not asked.curves:
        return None

    def make(folder: Path) -> None:
        x, y = sample(work.data.train, work.data.preprocessing, recipe.camp_hive.curved_images, recipe.seed)
        start = load_low_rank(before.path / EIGENPAIRS).vectors if before is not None else None
        traced = _network(work, at, at.now)
        found = curve(traced, _masks(work, at, traced).kept, x, y, asked, start, _named(work, cycle))
        save_low_rank(found, folder / EIGENPAIRS)

    inputs = [*at.stages, *([before] if before is not None else [])]
    return work.run.stage("curvature", [_settings(work), cycle], inputs, make)


def _cycle(work: Work, at: _At, cycle: int, curved: Stage | None) -> Stage:
    recipe = work.recipe
    sparsity = schedule(_zeros(work), cycle, recipe.camp_hive.count(recipe.pattern))

    def make(folder: Path) -> None:
        traced, teacher = _network(work, at, at.now), _network(work, at, at.trained)
        masks = _masks(work, at, traced)
        x, y = sample(work.data.train, work.data.preprocessing, recipe.camp_hive.images, recipe.seed)
        known = load_low_rank(curved.path / EIGENPAIRS) if curved is not None else None
        kept, log = one_cycle(traced, teacher, masks.kept, sparsity, x, y, _merging(work), known, _named(work, cycle))
        now = replace(masks, kept=kept)
        save(move(traced, CPU), folder / NETWORK)
        save_masks(now, folder / MASKS)
        (folder / "cuts.json").write_text(json.dumps(masks_report(now, None), indent=2), encoding="utf-8")
        rows = [*(logs(at.cut) if at.cut is not None else []), asdict(log)]
        (folder / LOG).write_text(json.dumps(rows, indent=2), encoding="utf-8")

    inputs = [*at.stages, *([curved] if curved is not None else [])]
    return work.run.stage("cycle", [_settings(work), cycle, sparsity], inputs, make)


def _zeros(work: Work) -> float:
    zeros = work.recipe.budget.sparsity
    assert zeros is not None, "a recipe with a mask pattern holds its share of zeros"
    return zeros


def logs(cut: Stage) -> list[dict[str, Any]]:
    """What the cycles up to a cut did, as `CycleLog` says it; none where there were no cycles of single weights."""
    if not (cut.path / LOG).is_file():
        return []
    rows: list[dict[str, Any]] = json.loads((cut.path / LOG).read_text(encoding="utf-8"))
    return rows


def note(cut: Stage) -> list[str]:
    """What the cycles did, in a line; nothing where there were none."""
    rows = logs(cut)
    if not rows:
        return []
    each = "; ".join(_said(row) for row in rows)
    return [f"CAMP-HiVe: loss on calibration images {rows[0]['loss_before']:.3f} at first; by cycle, {each}"]


def _said(log: dict[str, Any]) -> str:
    merged = f"{log['loss_merged']:.3f} with {100 * log['taken']:.0f} % of its merge" if log["taken"] else "no merge"
    return f"{100 * log['sparsity']:.1f} % zero: {log['loss_cut']:.3f}, {merged}"


def _network(work: Work, at: _At, stage: Stage) -> Traced:
    """The network that a stage left, on the dense one's graph: a graph's names may change where it is written."""
    traced = work.load(at.dense)
    if stage != at.dense:
        traced.module.load_state_dict(steps.network(stage).module.state_dict())
    return traced


def _masks(work: Work, at: _At, traced: Traced) -> Masks:
    """Those of the last cut; before any, all that the pattern may take."""
    masks = masks_of(at.cut) if at.cut is not None else None
    if masks is not None:
        return masks
    found = eligible_of(work, traced)
    shapes = {name: traced.module.get_parameter(name).shape for name in found.weights}
    kept = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    return Masks(parse_pattern(work.recipe.pattern), kept, found.reasons, found.narrow)


def _named(work: Work, cycle: int) -> Tick:
    count = work.recipe.camp_hive.count(work.recipe.pattern)
    return lambda what, done, total: work.tick(f"cycle {cycle} of {count}: {what}", done, total)


def _settings(work: Work) -> list[Any]:
    recipe = work.recipe
    asked = recipe.camp_hive.model_dump(mode="json", exclude={"between", "memory_mb", "cycles", "preset"})
    probes = [recipe.curvature.matrix, recipe.curvature.precision]
    return [asked, probes, recipe.seed, recipe.max_layer_sparsity, *deciding(work)]
