"""Terms of a sum that keep fewer channels than the sum does: each is spread over its places, zeros elsewhere.

A spread term is the term with zeros laid after it, and its channels picked into their order: a Pad and a Gather in
ONNX, and operators through which channels can be followed again. Where its channels are a range of the sum's, zeros
around them are enough.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgeprune.compact.keeps import Keeps
from edgeprune.model.operators import arguments, set_argument
from edgeprune.model.provenance import Provenance

aten = torch.ops.aten


def spread_terms(node: fx.Node, keeps: Keeps) -> None:
    """Spread the terms of a sum that are cut each alone."""
    for name, (axis, places, width) in spreads(node, keeps).items():
        set_argument(node, name, _spread(node, arguments(node)[name], axis, places, width))


def spreads(node: fx.Node, keeps: Keeps) -> dict[str, tuple[int, Tensor, int]]:
    """The arguments of a sum to spread: the axis, the channels' places along it, and its length."""
    if not keeps.adds_apart(node):
        return {}
    found = {}
    for name in ("self", "other"):
        cut = keeps.of(arguments(node)[name])
        if cut is None:
            continue
        axis, mask = cut
        whole = keeps.along(node, axis)
        whole = torch.ones_like(mask) if whole is None else whole
        if not torch.equal(mask, whole):
            assert not bool((mask & ~whole).any()), "a sum keeps what a term keeps"
            found[name] = axis, (whole.cumsum(0) - 1)[mask], int(whole.sum())
    return found


def count_spreads(graph: fx.Graph, found: Provenance, units: frozenset[int]) -> int:
    """How many terms are to be spread under given cuts."""
    keeps = Keeps(found, found.closed(units))
    return sum(len(spreads(node, keeps)) for node in graph.nodes)


def _spread(node: fx.Node, term: fx.Node, axis: int, places: Tensor, width: int) -> fx.Node:
    graph, count = node.graph, len(places)
    first = int(places[0])
    in_a_row = int(places[-1]) - first + 1 == count
    before = first if in_a_row else 0
    widths = [0, 0] * (len(node.meta["val"].shape) - 1 - axis) + [before, width - count - before]
    with graph.inserting_before(node):
        padded = graph.call_function(aten.pad.default, (term, widths))
        if in_a_row:
            return padded
        order = torch.empty(width, dtype=torch.int64)
        absent = torch.ones(width, dtype=torch.bool)
        absent[places] = False
        order[places] = torch.arange(count)
        order[absent] = torch.arange(count, width)
        module = graph.owning_module
        assert module is not None
        name = f"_spread_{padded.name}"
        module.register_buffer(name, order.to(next(module.parameters()).device))
        return graph.call_function(aten.index_select.default, (padded, axis, graph.get_attr(name)))
