"""What can be cut from a network, and what that saves: the ground that every method's choice stands on."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeprune.errors import EdgepruneError
from edgeprune.model.branches import mark_removable
from edgeprune.model.groups import Group, channel_groups
from edgeprune.model.provenance import Provenance, provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import Cost, cost_model
from edgeprune.pruning.implantable import Sites, sites
from edgeprune.pruning.layer_rules import kept_layers, near, ordered, owner
from edgeprune.spec.recipe import AttentionCut, LayerRule


@dataclass(frozen=True)
class Prunable:
    """A network's provenance, channel groups and cost model."""

    found: Provenance
    groups: list[Group]
    cost: Cost
    sites: Sites
    """Where implants can go."""

    @property
    def weights(self) -> dict[str, int]:
        """The weights whose output channels may be cut, in graph order -> the axis of those channels."""
        names = {weight for group in self.groups for weight in group.producers}
        return {name: self.found.weights[name] for name in self.found.axes if name in names}


def prunable(
    traced: Traced,
    keep: tuple[str, ...] = (),
    rules: tuple[LayerRule, ...] = (),
    attention: AttentionCut = "dims",
    exact: bool = False,
) -> Prunable:
    """Read what may be cut off the graph.

    Args:
        traced: the network.
        keep: patterns of layers never cut.
        rules: those of a recipe.
        attention: what an attention loses, whole heads or the same dims of every head.
        exact: leave channels whole over which a norm or mean is taken.

    Raises:
        EdgepruneError: a pattern matches no layer, or nothing may be cut; the text says what froze it.
    """
    ground = survey(traced, keep, rules, attention, exact)
    if not ground.groups:
        reasons = "; ".join(f"{node}: {why}" for node, why in list(ground.found.frozen.items())[:3])
        raise EdgepruneError(
            f"no channel of this network can be cut ({reasons}). Check --keep and the operators named."
        )
    return ground


def survey(
    traced: Traced,
    keep: tuple[str, ...] = (),
    rules: tuple[LayerRule, ...] = (),
    attention: AttentionCut = "dims",
    exact: bool = False,
) -> Prunable:
    """`prunable` also of a network of which nothing may be cut."""
    every = ordered(keep, rules)
    found = provenance(traced, kept_layers(traced, every), attention, statistics=not exact)
    layers = list(dict.fromkeys(owner(weight) for weight in found.axes if weight in found.weights))
    for name, pattern in [("--keep", p) for p in keep] + [("layers", rule.pattern) for rule in rules]:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise EdgepruneError(f"{name} {pattern!r} matches no layer. {near(pattern, layers)}")
    groups = mark_removable(traced, found, channel_groups(found))
    return Prunable(found, groups, cost_model(traced, found, groups), sites(traced, found))
