"""From a recipe and a target to what may be cut, and what is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.model.load import starts_random
from edgeprune.model.traced import Traced
from edgeprune.pruning import coupling
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.layer_rules import ordered
from edgeprune.pruning.levels import Limits, floors
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.spec.budget import Budget, LimitName
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.speeds import measured
from edgeprune.spec.target import Target


def open_ground(traced: Traced, recipe: Recipe, target: Target) -> Prunable:
    """What may be cut, with the costs that a result states; milliseconds only where they are limited."""
    # The spread terms of a sum are no part of the count of activations.
    names: list[LimitName] = ["size_mb"] if recipe.coupling == "union" else ["size_mb", "memory_mb"]
    if recipe.budget.latency_ms is not None:
        names.append("latency_ms")
    deployment = Deployment(recipe.precision, target, recipe.latency_profile)
    ground = prunable(traced, recipe.keep, recipe.layers, recipe.attention, recipe.exact, recipe.coupling)
    return deployed(traced, ground, deployment, names)


def widths(recipe: Recipe, target: Target, whole: Traced | None = None) -> Limits:
    """To which widths layers may be cut; `whole`: the network before any cut, of which no more may go."""
    rules = ordered(recipe.keep, recipe.layers)
    limits = Limits(target.channel_multiple.value, recipe.max_layer_sparsity, rules)
    return (
        limits if whole is None else replace(limits, floors=floors(open_ground(whole, recipe, target).groups, limits))
    )


def check_reachable(ground: Prunable, recipe: Recipe, target: Target) -> None:
    """Refuse a budget that no cut meets.

    Raises:
        EdgepruneError: with what can be reached.
    """
    coupling.check(ground, recipe.budget, widths(recipe, target))


def freezing(recipe: Recipe) -> list[Any]:
    """The settings that decide which layers may be cut at all."""
    rules = [rule.model_dump() for rule in recipe.layers]
    return [recipe.keep, rules, recipe.attention, recipe.exact, recipe.coupling]


def cutting(budget: Budget, recipe: Recipe, target: Target) -> list[Any]:
    """The settings that decide where the cut falls."""
    settings = [budget.model_dump(), *freezing(recipe), recipe.max_layer_sparsity, target.channel_multiple.value]
    if recipe.implant_ratio:
        settings.append({"implant_ratio": recipe.implant_ratio})
    if budget.size_mb is not None or budget.memory_mb is not None:
        settings.append(recipe.precision)
    if budget.latency_ms is not None:
        known = measured(target, recipe.precision, recipe.latency_profile)
        times = [record.model_dump(mode="json") for record in (*known.profiles, *known.tables)]
        settings += [recipe.precision, target.model_dump(), times]
    return settings


def check_source(recipe: Recipe) -> None:
    """Refuse a network without trained weights that is not to be trained.

    Raises:
        EdgepruneError: it is one.
    """
    source = recipe.source
    if starts_random(source.model) and source.weights is None and not recipe.training.dense_epochs:
        raise EdgepruneError(
            f"{source.model} comes without trained weights. Give --weights FILE, or --dense-epochs N to train it first."
        )
