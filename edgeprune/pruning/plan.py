"""What can be cut from a network, and what that saves: the ground that every method's choice stands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from edgeprune.errors import EdgepruneError
from edgeprune.model.branches import mark_removable
from edgeprune.model.groups import Group, channel_groups, joined_groups
from edgeprune.model.provenance import Provenance, provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import Cost, cost_model
from edgeprune.pruning.implantable import Sites, sites
from edgeprune.pruning.layer_rules import kept_layers, near, ordered, owner
from edgeprune.spec.recipe import AttentionCut, Coupling, LayerRule


@dataclass(frozen=True)
class Prunable:
    """A network's provenance, channel groups and cost model."""

    found: Provenance
    groups: list[Group]
    cost: Cost
    """Of the groups, then of the `joined`."""
    sites: Sites
    """Where implants can go."""
    coupling: Coupling = "group"
    joined: list[Group] = field(default_factory=list)
    """Channels of sums, which stay as long as one of their terms does; under union coupling only."""

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
    coupling: Coupling = "group",
) -> Prunable:
    """Read what may be cut off the graph.

    Args:
        traced: the network.
        keep: patterns of layers never cut.
        rules: those of a recipe.
        attention: what an attention loses, whole heads or the same dims of every head.
        exact: leave channels whole over which a norm or mean is taken.
        coupling: whether channels that are added go together, or each layer is cut alone.

    Raises:
        EdgepruneError: a pattern matches no layer, or nothing may be cut; the text says what froze it.
    """
    ground = survey(traced, keep, rules, attention, exact, coupling)
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
    coupling: Coupling = "group",
) -> Prunable:
    """`prunable` also of a network of which nothing may be cut."""
    every = ordered(keep, rules)
    found = provenance(traced, kept_layers(traced, every), attention, not exact, coupling)
    layers = list(dict.fromkeys(owner(weight) for weight in found.axes if weight in found.weights))
    for name, pattern in [("--keep", p) for p in keep] + [("layers", rule.pattern) for rule in rules]:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise EdgepruneError(f"{name} {pattern!r} matches no layer. {near(pattern, layers)}")
    groups = mark_removable(traced, found, channel_groups(found))
    joined = joined_groups(found)
    cost = cost_model(traced, found, groups + joined)
    return Prunable(found, groups, cost, sites(traced, found), coupling, joined)
