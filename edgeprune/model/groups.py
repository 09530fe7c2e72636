"""Channel groups: the classes of channels that stand in the same places, and may be cut one by one.

A *unit* is what must be cut together: one class of united labels. A *group* is a set of units that occur in
exactly the same axes of the same parameters, as the channels of one residual stream do; a group gets thinner by
losing units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgeprune.model.labels import FROZEN
from edgeprune.model.provenance import Provenance

Axis = tuple[str, int]
"""A parameter's name and one of its axes."""


@dataclass(frozen=True)
class Group:
    """Units with the same places. `places`: (parameter, axis) -> indices per unit, each of shape [units, n]."""

    name: str
    units: tuple[int, ...]
    places: dict[Axis, Tensor]
    producers: tuple[str, ...]
    """Weights whose output channels these are."""
    out_axes: dict[str, int]
    """For each of them, which axis that is."""
    removable: bool = False
    """Whether the network runs without any of them (`branches`)."""

    def out_width(self, weight: str) -> int:
        """How many output channels of a weight one unit is."""
        return self.width((weight, self.out_axes[weight]))

    def width(self, axis: Axis) -> int:
        """How many indices of an axis one unit holds."""
        return int(self.places[axis].shape[1])


def channel_groups(found: Provenance) -> list[Group]:
    """The prunable groups of a network, in graph order."""
    groups = [
        group
        for group in _alike(found)
        if group.producers and len(group.units) > 1 and group.units[0] not in found.bases
    ]
    names = Counter(group.name for group in groups)
    seen: Counter[str] = Counter()
    unique = []
    for group in groups:
        seen[group.name] += 1
        name = group.name if names[group.name] == 1 else f"{group.name}#{seen[group.name]}"
        unique.append(replace(group, name=name))
    return unique


def joined_groups(found: Provenance) -> list[Group]:
    """The joins of sums, by their places in parameters, else in tensors; the groups decide what stays of them."""
    known = [group for group in _alike(found) if group.units[0] in found.bases]
    rest = torch.tensor(sorted(found.bases.keys() - {unit for group in known for unit in group.units}))
    nodes: dict[int, Counter[str]] = {int(label): Counter() for label in rest}
    for name, labels in found.nodes.items() if nodes else ():
        for label in labels[torch.isin(labels, rest)].tolist():
            nodes[label][name] += 1
    unknown: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for label, where in nodes.items():
        unknown[tuple(sorted(where.items()))].append(label)
    return known + [Group("sums", tuple(units), {}, (), {}) for units in unknown.values()]


def _alike(found: Provenance) -> list[Group]:
    """All classes by their places, those of joins apart from the others."""
    positions: dict[int, dict[Axis, list[int]]] = defaultdict(dict)
    for name, bound in found.axes.items():
        for axis, labels in bound.items():
            for index, label in enumerate(labels.tolist()):
                if label != FROZEN:
                    positions[label].setdefault((name, axis), []).append(index)
    by_places: dict[tuple[bool, tuple[tuple[Axis, int], ...]], list[int]] = defaultdict(list)
    for label, places in positions.items():
        signature = tuple(sorted((axis, len(at)) for axis, at in places.items()))
        by_places[label in found.bases, signature].append(label)
    order = {name: i for i, name in enumerate(found.axes)}
    groups = []
    for (_, signature), units in by_places.items():
        producers = [name for ((name, axis), _) in signature if found.weights.get(name) == axis]
        units = sorted(units)
        where = {axis: torch.tensor([positions[unit][axis] for unit in units]) for axis, _ in signature}
        producers = sorted(producers, key=order.__getitem__)
        out_axes = {name: found.weights[name] for name in producers}
        first = producers[0] if producers else signature[0][0][0]
        groups.append(Group(first.rpartition(".")[0] or first, tuple(units), where, tuple(producers), out_axes))
    return groups
