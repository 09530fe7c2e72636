"""What can be cut from a network, and what that saves: the ground that every method's choice stands on."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group, channel_groups
from edgeprune.model.provenance import Provenance, provenance, unmatched
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import Cost, cost_model


@dataclass(frozen=True)
class Prunable:
    """A network's provenance, channel groups and cost model."""

    found: Provenance
    groups: list[Group]
    cost: Cost

    def only(self, groups: list[Group]) -> Prunable:
        """The same ground with some of its groups left whole."""
        return Prunable(self.found, groups, self.cost.only([self.groups.index(group) for group in groups]))

    @property
    def weights(self) -> dict[str, int]:
        """The weights whose output channels may be cut, in graph order -> the axis of those channels."""
        names = {weight for group in self.groups for weight in group.producers}
        return {name: self.found.weights[name] for name in self.found.axes if name in names}


def prunable(traced: Traced, keep: tuple[str, ...]) -> Prunable:
    """Read what may be cut off the graph.

    Raises:
        EdgepruneError: nothing may; the text says what froze it.
    """
    found = provenance(traced, keep)
    idle = unmatched(found, keep)
    if idle:
        layers = ", ".join(sorted({name.rpartition(".")[0] for name in found.weights}))
        raise EdgepruneError(f"--keep {idle[0]!r} matches no layer. The layers: {layers}.")
    groups = channel_groups(found)
    if not groups:
        reasons = "; ".join(f"{node}: {why}" for node, why in list(found.frozen.items())[:3])
        raise EdgepruneError(
            f"no channel of this network can be cut ({reasons}). Check --keep and the operators named."
        )
    return Prunable(found, groups, cost_model(traced, found, groups))
