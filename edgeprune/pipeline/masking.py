"""The curvature and prune stages for mask patterns: weights become zero where they are, and nothing is compacted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from edgeprune.curvature.curvature import Curvature, load_curvature, save_curvature
from edgeprune.curvature.weights import WeightCurvature
from edgeprune.model.batches import sample
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline.curving import from_file, probing
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.held import MASKS
from edgeprune.pipeline.masked import LOOKS_AT_IMAGES, weight_curvature
from edgeprune.pipeline.steps import NETWORK, TRACES, Work, network
from edgeprune.pruning.eligible import Eligible, eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks, save_masks
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.target import Target

INPUTS = "inputs.safetensors"
NAMED = 4
"""Layers that a line names before it only counts."""


def too_narrow(work: Work, dense: Stage) -> str | None:
    """A line on the eligible layers for which the target's sparse kernels likely gain nothing, or None."""
    found = eligible_of(work, network(dense))
    if not found.narrow:
        return None
    return (
        f"pattern {work.recipe.pattern}: {len(found.narrow)} of {len(found.weights)} layers have 256 or fewer input or "
        f"output channels, where a sparse kernel likely gains nothing: {named(found.narrow)}"
    )


def curvature(work: Work, before: Stage) -> Stage | None:
    """What a weight's removal is predicted to cost, for methods that score by curvature."""
    recipe = work.recipe
    if recipe.scores not in LOOKS_AT_IMAGES:
        return None
    file = recipe.curvature.file

    def make(folder: Path) -> None:
        traced = work.load(before)
        x, y = sample(work.data.train, work.data.preprocessing, recipe.curvature.images, recipe.seed)
        weights, pattern = eligible_of(work, traced).weights, parse_pattern(recipe.pattern)
        known = None
        if file is not None:
            known = from_file(Path(file), traced, work.data, dict.fromkeys(weights, 0))
        found = weight_curvature(traced, recipe.scores, weights, pattern, x, y, probing(recipe), work.tick, known)
        (folder / INPUTS).write_bytes(to_bytes({name: value.contiguous() for name, value in found.inputs.items()}))
        if found.traces is not None:
            save_curvature(found.traces, folder / TRACES)

    settings = [recipe.scores, recipe.curvature.model_dump(mode="json"), recipe.seed, *deciding(work)]
    return work.run.stage("curvature", settings, [before], make)


def _scored(stage: Stage | None) -> WeightCurvature | None:
    if stage is None:
        return None
    traces = stage.path / TRACES
    return WeightCurvature(load_file(stage.path / INPUTS), load_curvature(traces) if traces.is_file() else None)


def prune(work: Work, before: Stage, scored: Stage | None) -> Stage:
    """Choose the masks, and leave the network with them applied, and the masks beside it."""
    recipe = work.recipe

    def make(folder: Path) -> None:
        traced = network(before)
        found = _scored(scored)
        work.tick("masking", 0, 1)
        pattern = parse_pattern(recipe.pattern)
        masks = choose_masks(traced.module, eligible_of(work, traced), pattern, recipe.scores, found, _share(recipe))
        apply_masks(traced.module, masks.kept)
        work.tick("masking", 1, 1)
        traces = found.traces if found else None
        save(traced, folder / NETWORK)
        save_masks(masks, folder / MASKS)
        (folder / "cuts.json").write_text(json.dumps(masks_report(masks, traces), indent=2), encoding="utf-8")

    settings = [recipe.scores, recipe.budget.sparsity, recipe.max_layer_sparsity, *deciding(work)]
    return work.run.stage("prune", settings, [before, *([scored] if scored else [])], make)


def notes(masks: Masks, params: int, target: Target) -> list[str]:
    """What the reader of a result must know of the masks. `params`: of the network."""
    share = masks.zeros / params
    layers = "1 layer" if len(masks.kept) == 1 else f"{len(masks.kept)} layers"
    lines = [
        f"pattern {masks.pattern}: {100 * masks.sparsity:.1f} % of the weights of {layers} are zero, "
        f"{100 * share:.1f} % of all parameters; they count as MACs and parameters"
    ]
    for reason, names in by_reason(masks.ineligible).items():
        lines.append(f"stays dense: {named(names)}: {reason}")
    if target.sparsity is not None and target.sparsity.value == str(masks.pattern):
        lines.append(f"{masks.pattern} only allows sparse kernels; which layers got one, the engine's build log says")
    return lines


def by_reason(ineligible: Mapping[str, str]) -> dict[str, list[str]]:
    """Weights that stay dense, by why."""
    found: dict[str, list[str]] = {}
    for name, reason in ineligible.items():
        found.setdefault(reason, []).append(name)
    return found


def named(weights: list[str] | tuple[str, ...]) -> str:
    """Layers of these weights in a line: the first few, and how many more."""
    layers = [name.removesuffix(".weight") for name in weights]
    rest = len(layers) - NAMED
    return ", ".join(layers[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _share(recipe: Recipe) -> Share:
    zeros = recipe.budget.sparsity
    assert zeros is not None, "a recipe with a mask pattern holds its share of zeros"
    return Share(zeros, recipe.max_layer_sparsity)


def eligible_of(work: Work, traced: Traced) -> Eligible:
    """The layers that the recipe's pattern may take."""
    return eligible(traced, parse_pattern(work.recipe.pattern), work.target, work.recipe.keep)


def deciding(work: Work) -> list[Any]:
    """The settings that decide which layers are masked."""
    sparse = work.target.sparsity.value if work.target.sparsity is not None else None
    return [work.recipe.pattern, work.recipe.keep, work.target.runtime, sparse]


def masks_report(masks: Masks, found: Curvature | None) -> dict[str, Any]:
    """What `cuts.json` says of masks."""
    return {
        "pattern": str(masks.pattern),
        "budget": {},
        "latency_from": None,
        "kept": {name: (int(mask.sum()), mask.numel()) for name, mask in masks.kept.items()},
        "reached": {"sparsity": masks.sparsity},
        "ineligible": masks.ineligible,
        "narrow": masks.narrow,
        "frozen": {},
        "refused": {},
        "probes": found.probes if found else None,
    }
