"""Branches that may go whole: groups of which nothing need be left.

A tensor all of whose channels are one group's is empty without that group. That is no harm where every reader that is
not empty too contracts it (its output is then its bias) or lays it beside others (one piece less).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from torch import fx

from edgeprune.model.groups import Group
from edgeprune.model.labels import FROZEN
from edgeprune.model.operators import name_of
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced

CONTRACTIONS = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
JOINS = frozenset({"cat", "concat"})


def mark_removable(traced: Traced, found: Provenance, groups: list[Group]) -> list[Group]:
    """The groups, those that may go whole marked so."""
    group_of = {unit: group.name for group in groups for unit in group.units}
    whole: dict[fx.Node, str] = {}
    for node in traced.module.graph.nodes:
        labels = found.nodes.get(node.name)
        if labels is None:
            if node.op == "call_function" and node.args and node.args[0] in whole:  # pieces that readers take
                whole[node] = whole[node.args[0]]
            continue
        units = set(labels.reshape(-1).tolist())
        owners = {group_of.get(unit) for unit in units}
        if FROZEN not in units and len(owners) == 1 and None not in owners:
            whole[node] = str(owners.pop())
    kept = {owner for node, owner in whole.items() if not all(_bears(reader, whole, owner) for reader in node.users)}
    able = set()
    for owner in set(whole.values()) - kept:
        empty = {node for node, its_owner in whole.items() if its_owner == owner}
        if sees_the_image(traced.module.graph, empty):
            able.add(owner)
    return [replace(group, removable=group.name in able) for group in groups]


def sees_the_image(graph: fx.Graph, empty: Container[fx.Node] = ()) -> bool:
    """Whether the output depends on the input's values without the empty tensors."""
    seen: set[fx.Node] = set()
    for node in graph.nodes:
        passes_on = node not in empty and name_of(node) != "sym_size" and not seen.isdisjoint(node.all_input_nodes)
        if node.op == "placeholder" or passes_on:
            seen.add(node)
    return any(node.op == "output" for node in seen)


def _bears(reader: fx.Node, whole: dict[fx.Node, str], owner: str) -> bool:
    """Whether a reader of an empty tensor is empty itself, contracts it, or has something else beside it."""
    if whole.get(reader) == owner or name_of(reader) == "sym_size":
        return True
    if name_of(reader) in CONTRACTIONS:
        weight = reader.args[1]
        return isinstance(weight, fx.Node) and weight.op == "get_attr" and whole.get(reader) != owner
    return name_of(reader) in JOINS
