"""Labels through an addition: one channel with what it is added to, or a join of channels that are cut each alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow, spread
from edgeprune.model.labels import FROZEN, channel_axes, collapse
from edgeprune.model.operators import arguments
from edgeprune.model.rules.pointwise import elementwise


def added(flow: Flow, node: fx.Node) -> Any:
    """Unite the terms' labels; under union coupling, join them where both terms are channels of their own."""
    if flow.coupling == "union":
        terms = [arguments(node)[name] for name in ("self", "other")]
        axis = _channel_axis(flow, node, terms)
        if axis is not None:
            joined = _joined(flow, *(flow.channels(flow.value(term), axis) for term in terms))
            if joined is not None:
                flow.joins.nodes.add(node.name)
                return spread(joined, flow.shapes[node.name], axis)
    return elementwise(flow, node)


def _joined(flow: Flow, first: Tensor, second: Tensor) -> Tensor | None:
    """Labels per channel of a sum; None where its terms are the same channels already.

    A channel that no layer puts out (a zero laid around a shortcut) is no term: it goes with the sum.
    """
    found, live = flow.labels.find(torch.stack([first, second])), flow.live()
    idle = ~live[found] & (found != FROZEN)
    apart = (found[0] != found[1]) & ~idle.all(0)
    if not bool(apart.any()):
        return None
    flow.labels.union(first[idle.all(0)], second[idle.all(0)])
    joined = first.clone()
    joined[apart] = flow.joins.mint(
        flow.labels, second.where(idle[0], first)[apart], first.where(idle[1], second)[apart]
    )
    for term, lone in ((first, idle[0] & apart), (second, idle[1] & apart)):
        flow.labels.union(term[lone], joined[lone])
    return joined


def _channel_axis(flow: Flow, node: fx.Node, terms: list[Any]) -> int | None:
    """The one axis along which the channels of both terms lie; None where they do not, or a term is broadcast.

    A term that is frozen as a whole has no such axis, and fits any.
    """
    axes, live = set(), flow.live()
    for term in terms:
        labels = flow.value(term) if isinstance(term, fx.Node) and term.op != "get_attr" else None
        if not isinstance(labels, Tensor) or tuple(labels.shape) != flow.shapes[node.name]:
            return None
        found = flow.labels.find(collapse(labels))
        if bool((found != FROZEN).any()):
            axes.add(tuple(channel_axes(found, live)))
    only = axes.pop() if len(axes) == 1 else ()
    return only[0] if len(only) == 1 and only[0] > 0 else None
