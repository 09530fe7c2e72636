"""AMP-HASA's cycle under a mask pattern: single weights, blocks of them, or N:M, where nothing is allocated."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from edgeprune.allocation.allocate import Strength
from edgeprune.allocation.nm import nm_lot
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.model.batches import sample
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline import allocating
from edgeprune.pipeline.allocated import Masking, diagonals, weighing
from edgeprune.pipeline.allocating import Pruned, Turn
from edgeprune.pipeline.curving import probing
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.held import MASKS, masks_of
from edgeprune.pipeline.masking import deciding, eligible_of, masks_report
from edgeprune.pipeline.steps import NETWORK, Work, network
from edgeprune.pruning.masks import Masks, apply_masks, save_masks
from edgeprune.spec.pattern import parse_pattern

DIAGONAL, STRENGTH = "diagonal.safetensors", "strength.json"


def prune(work: Work, dense: Stage) -> Pruned:
    """Mask a network in cycles."""
    return allocating.cycles(work, dense, _cycle)


def _cycle(turn: Turn) -> tuple[Stage, Stage | None, Stage]:
    scored = _curvature(turn)
    if parse_pattern(turn.work.recipe.pattern).kind == "n:m":
        return scored, None, _cut_nm(turn, scored)
    divided = _divide(turn, scored)
    return scored, divided, _cut(turn, scored, divided)


def _curvature(turn: Turn) -> Stage:
    work, recipe = turn.work, turn.work.recipe

    def make(folder: Path) -> None:
        traced = work.load(turn.before)
        images = sample(work.data.train, work.data.preprocessing, recipe.curvature.images, recipe.seed)
        weights = eligible_of(work, traced).weights
        found = diagonals(traced, weights, recipe.amp_hasa.curvature, images, probing(recipe), work.tick)
        (folder / DIAGONAL).write_bytes(to_bytes(found))

    settings = [recipe.amp_hasa.curvature, recipe.curvature.model_dump(mode="json"), recipe.seed, *deciding(work)]
    return work.run.stage("curvature", settings, [turn.before], make)


def _masking(turn: Turn, traced: Traced, scored: Stage) -> Masking:
    recipe, live = turn.work.recipe, masks_of(turn.cut) if turn.cut is not None else None
    assert recipe.budget.sparsity is not None, "a recipe with a mask pattern holds its share of zeros"
    zeros = recipe.budget.sparsity * turn.share
    found = load_file(scored.path / DIAGONAL)
    # As the network has them: a file has its tensors in another order.
    ordered = {name: found[name] for name, _ in traced.module.named_parameters() if name in found}
    return Masking(traced, ordered, parse_pattern(recipe.pattern), zeros, live.kept if live is not None else None)


def _divide(turn: Turn, scored: Stage) -> Stage:
    work, asked = turn.work, turn.work.recipe.amp_hasa

    def make(folder: Path) -> None:
        traced = work.load(turn.before)
        masking, last = _masking(turn, traced, scored), turn.last
        start = dict(zip(last.parts, last.moves, strict=True)) if last is not None else None
        allocating.divide(turn, traced, lambda strength: masking.problem(asked, strength, start), folder)

    settings = [*allocating.settings(turn), work.recipe.budget.sparsity, *deciding(work)]
    inputs = [turn.before, scored, *([turn.divided] if turn.divided is not None else [])]
    return work.run.stage("allocation", settings, inputs, make)


def _cut(turn: Turn, scored: Stage, divided: Stage) -> Stage:
    work = turn.work

    def make(folder: Path) -> None:
        traced, found = network(turn.before), allocating.read(divided)
        masking = _masking(turn, traced, scored)
        problem = masking.problem(work.recipe.amp_hasa, found.strength)
        kept = {name: mask.contiguous() for name, mask in problem.lot.masks(found.kept).items()}
        _write(work, traced, masking, kept, folder)

    return work.run.stage("prune", [], [turn.before, scored, divided], make)


def _cut_nm(turn: Turn, scored: Stage) -> Stage:
    work, asked = turn.work, turn.work.recipe.amp_hasa

    def make(folder: Path) -> None:
        traced = work.load(turn.before)
        masking = _masking(turn, traced, scored)

        def masked(strength: float) -> tuple[Lot, Kept]:
            return nm_lot(masking.scores(weighing(asked, strength)), masking.pattern)

        found = allocating.strength(turn, traced, allocating.pictures(work), masked)
        lot, kept = masked(found.taken)
        (folder / STRENGTH).write_text(_said(found), encoding="utf-8")
        _write(work, network(turn.before), masking, lot.masks(kept), folder)

    return work.run.stage("prune", [*allocating.settings(turn), *deciding(work)], [turn.before, scored], make)


def _said(found: Strength) -> str:
    return json.dumps({"strength": found.taken, "rewards": {f"{k:g}": v for k, v in found.rewards.items()}}, indent=2)


def _write(work: Work, traced: Traced, masking: Masking, kept: dict[str, Tensor], folder: Path) -> None:
    """Leave the network with its masks applied, and the masks beside it."""
    found = eligible_of(work, traced)
    masks = Masks(masking.pattern, kept, found.reasons, found.narrow)
    apply_masks(traced.module, kept)
    save(traced, folder / NETWORK)
    save_masks(masks, folder / MASKS)
    (folder / "cuts.json").write_text(json.dumps(masks_report(masks, None), indent=2), encoding="utf-8")
