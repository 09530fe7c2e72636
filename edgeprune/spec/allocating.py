"""Checks of a recipe for AMP-HASA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.errors import EdgepruneError
from edgeprune.spec.budget import MASKED_AT_MOST
from edgeprune.spec.methods import SEARCHES, Allocating
from edgeprune.spec.pattern import parse_pattern

if TYPE_CHECKING:
    from edgeprune.spec.recipe import Recipe

DEFAULT = Allocating()


def check_allocating(recipe: Recipe) -> None:
    """Refuse what AMP-HASA cannot do, and its settings beside another method.

    Raises:
        EdgepruneError: the text says what to change.
    """
    asked = recipe.amp_hasa
    if recipe.method != "amp-hasa":
        if asked != DEFAULT:
            raise EdgepruneError("settings of AMP-HASA belong to --method amp-hasa. Give it too, or leave them out.")
        return
    if recipe.budget.max_drop is not None:
        raise EdgepruneError(
            "--max-drop tries many budgets, and --method amp-hasa searches an allocation for each. "
            "Give a budget, as --macs 0.5."
        )
    if asked.cycles > 1 and (recipe.compensate != "none" or asked.reward == "literal"):
        what = "--compensate" if recipe.compensate != "none" else "the reward as printed"
        raise EdgepruneError(f"{what} is for one cut of the dense network. Take cycles = 1 under [amp_hasa].")
    if asked.allocator not in SEARCHES and (asked.ray is not None or asked.minutes is not None):
        raise EdgepruneError(f"--allocator {asked.allocator} searches nothing. Leave --ray and the time limit out.")
    if parse_pattern(recipe.pattern).masks:
        _check_masks(recipe)
    else:
        _check_channels(recipe)


def _check_masks(recipe: Recipe) -> None:
    asked, pattern = recipe.amp_hasa, parse_pattern(recipe.pattern)
    if recipe.curvature.file is not None:
        raise EdgepruneError("--curvature holds traces of channels; single weights need more. Leave it out.")
    if recipe.max_layer_sparsity != MASKED_AT_MOST:
        raise EdgepruneError("max_layer_sparsity is for channels here. Say least = 0.05 under [amp_hasa] instead.")
    if pattern.kind != "n:m":
        return
    searching = ("allocator", "evaluations", "minutes", "ray", "cycles", "reward")
    given = [name for name in searching if getattr(asked, name) != getattr(DEFAULT, name)]
    if given:
        raise EdgepruneError(
            f"pattern {pattern} says how many weights of every layer stay, so nothing is allocated. "
            f"Leave {given[0]} out, or take --pattern unstructured."
        )


def _check_channels(recipe: Recipe) -> None:
    asked = recipe.amp_hasa
    others = {
        "--coupling union": recipe.coupling != "group",
        "--implant": recipe.implant_ratio > 0,
        "--allocation scores": recipe.allocation != "measured",
    }
    for option, given in others.items():
        if given:
            raise EdgepruneError(f"{option} is not for --method amp-hasa, which has --allocator. Leave it out.")
    for name in [name for name in ("curvature", "least", "pooled") if getattr(asked, name) != getattr(DEFAULT, name)]:
        raise EdgepruneError(
            f"{name} under [amp_hasa] is for single weights. Leave it out: channels have [curvature] and "
            "max_layer_sparsity."
        )
