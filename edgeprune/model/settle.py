"""Settle a label walk: tie and freeze until every cut of a class is a slice of every tensor.

Rules leave questions open (`Flow.meetings`), since what meets may be tied only later. Here labels are tied until each
tensor varies along one axis at most, open questions are answered, and what cannot be cut is frozen; each can bring
about the others, so they are repeated until nothing changes. Classes only shrink in number, so it ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from edgeprune.model.flow import Flow
from edgeprune.model.labels import FROZEN, channel_axes, collapse, varies


def settle(flow: Flow, batch_axes: Mapping[str, frozenset[int]], statistics: bool) -> dict[str, str]:
    """Finish a walk, in place; returns node name -> the statistic over channels that a cut changes.

    `statistics`: whether such channels may be cut at all; else they are frozen.
    """
    nodes = {node.name: labels for node, labels in flow.of.items() if isinstance(labels, Tensor)}
    while True:
        before = flow.labels.changes
        _one_axis_each(flow, nodes, batch_axes)
        _answer_meetings(flow)
        flow.joins.settle(flow.labels)
        if flow.labels.changes != before:
            continue
        _freeze_uncuttable(flow, nodes)
        if flow.labels.changes != before:
            continue
        for meeting in flow.meetings:
            flow.freeze_labels([meeting.small], meeting.node, "it meets several channels at once")
        flow.meetings.clear()
        touched = _statistics(flow)
        if not statistics:
            for name, labels, why in touched:
                flow.freeze_labels([labels], name, f"kept: {why}")
        if flow.labels.changes == before:
            return {name: why for name, _, why in touched} if statistics else {}


def slim(flow: Flow, labels: Tensor, live: Tensor) -> Tensor:
    """Classes of a settled tensor, size 1 along every axis on which no channel lies; not live is frozen."""
    found = flow.labels.find(collapse(labels))
    varying = channel_axes(found, live)
    found = found.where(live[found], FROZEN)
    for d in range(found.dim()):
        if d not in varying and found.shape[d] > 1:
            # Elements that no layer puts out (rows of a table that nobody looks up) take the class of the others.
            found = found.amax(d, keepdim=True)
    return found


def _one_axis_each(flow: Flow, nodes: Mapping[str, Tensor], batch_axes: Mapping[str, frozenset[int]]) -> None:
    """Tie labels until those of every tensor vary along one axis at most.

    A view that splits a channel axis (groups x width) leaves labels that vary along both factors: the longer one
    stays, and equal positions of the other are tied, so that the cut takes the same share of each.
    """
    tensors = [(labels, batch_axes.get(name, frozenset())) for name, labels in nodes.items()]
    tensors += [(labels, frozenset[int]()) for labels in (*flow.products.values(), *flow.elements.values())]
    seen = {(labels.data_ptr(), labels.shape, labels.stride()): (labels, batch) for labels, batch in tensors}
    before = -1
    while flow.labels.changes != before:
        before = flow.labels.changes
        live = flow.live()
        for labels, batch in seen.values():
            found = flow.labels.find(collapse(labels))
            varying = channel_axes(found, live)
            if len(varying) < 2:
                continue
            kept = max(varying, key=lambda axis: (axis not in batch, found.shape[axis]))
            moved = found.movedim(kept, 0)
            flow.labels.tie(moved.reshape(moved.shape[0], -1))


def _answer_meetings(flow: Flow) -> None:
    flow.meetings[:] = [left for meeting in flow.meetings if (left := flow.settle(meeting)) is not None]


def _freeze_uncuttable(flow: Flow, nodes: Mapping[str, Tensor]) -> None:
    """Freeze channels that are all there is of a tensor."""
    live = flow.live()
    for name, labels in nodes.items():
        found = flow.labels.find(collapse(labels))
        if bool(live[found].any()) and found.unique().numel() == 1:
            flow.freeze_labels([found], name, "all its channels go together")


def _statistics(flow: Flow) -> list[tuple[str, Tensor, str]]:
    """The statistics along whose axes channels lie: node name, labels, what they are."""
    live, found = flow.live(), []
    for statistic in flow.statistics:
        classes = flow.labels.find(collapse(statistic.labels))
        along = [axis for axis in statistic.axes if varies(classes, axis)]
        if along and bool(live[classes].any()):
            found.append((statistic.node, classes, statistic.why))
    return found
