"""Look a network over: its groups, what is frozen, what its layers cost, and how small it can get."""

from __future__ import annotations

import numpy as np

from edgeprune.model.attributes import attribute
from edgeprune.model.count import layers
from edgeprune.model.groups import Group
from edgeprune.model.operators import name_of
from edgeprune.model.traced import Traced
from edgeprune.pruning.budget import reached
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.layer_rules import owner
from edgeprune.pruning.levels import Limits, ladder
from edgeprune.pruning.plan import Prunable, survey
from edgeprune.spec.budget import LimitName
from edgeprune.spec.inspection import GroupFacts, Inspection, LayerFacts
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.speeds import peaks
from edgeprune.spec.target import Target

MULTIPLE = 8
"""Of channels, where no target is named: that of most."""
PRECISION = "int8"
MAX_SPARSITY = float(Recipe.model_fields["max_layer_sparsity"].default)


def inspect_network(traced: Traced, model: str, target: Target | None) -> Inspection:
    """Read a network off its graph; sizes are those of its INT8 twin, with the recipe's defaults."""
    ground = survey(traced)
    names: list[LimitName] = ["size_mb", "memory_mb"]
    if target is not None and peaks(target, PRECISION) is not None:
        names.append("latency_ms")
    ground = deployed(traced, ground, Deployment(PRECISION, target), names)
    limits = Limits(target.channel_multiple.value if target is not None else MULTIPLE, MAX_SPARSITY)
    narrowest = np.array([ladder(group, limits)[-1] for group in ground.groups], dtype=np.int64)
    cost, found = ground.cost, _layers(traced, ground)
    macs, params = int(cost.macs(cost.units)), int(cost.params(cost.units))
    return Inspection(
        model=model,
        input_shape=traced.input_shape,
        target=target.name if target is not None else None,
        channel_multiple=limits.multiple,
        macs=macs,
        other_macs=macs - sum(layer.macs for layer in found),
        params=params,
        other_params=params - sum(layer.params for layer in found),
        macs_in_groups=1 - cost.macs(0 * cost.units) / max(macs, 1),
        params_in_groups=1 - cost.params(0 * cost.units) / max(params, 1),
        whole=reached(cost, cost.units),
        smallest=reached(cost, narrowest),
        latency_from=cost.latency_from,
        groups=tuple(_group(group, int(least)) for group, least in zip(ground.groups, narrowest, strict=True)),
        layers=found,
        frozen=ground.found.frozen,
        approximate=ground.found.approximate,
    )


def _group(group: Group, narrowest: int) -> GroupFacts:
    return GroupFacts(
        name=group.name,
        units=len(group.units),
        width=max(group.out_width(weight) for weight in group.producers),
        layers=tuple(owner(weight) for weight in group.producers),
        members=tuple(f"{name}[{axis}]" for name, axis in group.places),
        narrowest=narrowest,
    )


def _layers(traced: Traced, ground: Prunable) -> tuple[LayerFacts, ...]:
    """Layers in graph order, each weight once, with all its uses and all that its module holds."""
    kinds = {node.name: name_of(node) for node in traced.module.graph.nodes}
    groups = {weight: group.name for group in ground.groups for weight in group.producers}
    macs: dict[str, int] = {}
    first: dict[str, str] = {}
    for layer in layers(traced, ground.found.shapes):
        macs[layer.weight] = macs.get(layer.weight, 0) + layer.macs
        first.setdefault(layer.weight, layer.node)
    held: dict[str, int] = {}  # a bias counts to the first weight of its module
    for name, parameter in traced.module.named_parameters():
        mine = name if name in first else next((weight for weight in first if owner(weight) == owner(name)), name)
        held[mine] = held.get(mine, 0) + parameter.numel()
    return tuple(
        LayerFacts(
            name=owner(weight) or weight,
            kind=kinds[node],
            shape=tuple(attribute(traced.module, weight).shape),
            macs=macs[weight],
            params=held.get(weight, 0),
            group=groups.get(weight),
        )
        for weight, node in first.items()
    )
