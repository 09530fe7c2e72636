"""Labels: integers that name channels, and the union-find that says which of them are one and the same.

Label 0 is frozen: a constant, the network's input or output, or something an operator without a rule touched.
Whatever is united with 0 is frozen too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FROZEN = 0


class Labels:
    """A growing set of labels with vectorised union and find (tensors of int64 labels, any shape)."""

    def __init__(self) -> None:
        self._parent = torch.zeros(1024, dtype=torch.int64)
        self.count = 1
        """How many labels there are, the frozen one included."""
        self.changes = 0
        """How often labels were united that were not one before."""

    def fresh(self, *shape: int) -> Tensor:
        """Mint new labels, all different."""
        start, self.count = self.count, self.count + math.prod(shape)
        if self.count > self._parent.numel():
            self._parent = torch.cat([self._parent, self._parent.new_zeros(self.count)])
        new = torch.arange(start, self.count)
        self._parent[start : self.count] = new
        return new.reshape(shape)

    def find(self, labels: Tensor) -> Tensor:
        """Return the smallest label of each label's class; 0 for frozen ones."""
        roots = self._parent[labels]
        while True:
            above = self._parent[roots]
            if torch.equal(above, roots):
                return roots
            roots = above

    def union(self, a: Tensor, b: Tensor) -> None:
        """Unite the labels that stand at the same place of two broadcastable tensors."""
        a, b = _shared_view(a, b)
        pairs = torch.stack([a.reshape(-1), b.reshape(-1)])
        touched = pairs
        while True:
            roots = self.find(pairs)
            low, high = torch.minimum(roots[0], roots[1]), torch.maximum(roots[0], roots[1])
            open_ = low != high
            if not bool(open_.any()):
                break
            # One key per pair, since most places of two tensors say the same thing.
            keys = torch.unique(low[open_] * self.count + high[open_])
            low, high = keys // self.count, keys % self.count
            self.changes += 1
            # Hooking the larger root below the smaller keeps the forest acyclic; competing writes to one
            # root are settled by the minimum, and the losers come round again.
            self._parent.scatter_reduce_(0, high, low, "amin")
            pairs = torch.stack([low, high])
        if pairs is not touched:
            self._parent[touched.reshape(-1)] = self.find(touched.reshape(-1))

    def tie(self, rows: Tensor) -> Tensor:
        """Unite all labels of each row of `[rows, n]`; returns one label per row."""
        first = rows[:, 0]
        self.union(first[:, None], rows)
        return first

    def freeze(self, labels: Tensor) -> None:
        """Unite all labels with 0."""
        self.union(labels, torch.zeros((), dtype=torch.int64))


def collapse(labels: Tensor) -> Tensor:
    """Take one index along every axis that an expand made, so that work is done once per distinct element."""
    for axis, stride in enumerate(labels.stride()):
        if stride == 0 and labels.shape[axis] > 1:
            labels = labels.narrow(axis, 0, 1)
    return labels


def thin(labels: Tensor) -> Tensor:
    """The same labels with no memory along axes on which they are equal."""
    for axis in range(labels.dim()):
        if labels.shape[axis] > 1 and labels.stride(axis) != 0:
            first = labels.narrow(axis, 0, 1)
            if bool((collapse(labels) == collapse(first)).all()):
                labels = first.expand(labels.shape)
    return labels


def varies(found: Tensor, axis: int) -> bool:
    """Whether classes differ along an axis."""
    return found.shape[axis] > 1 and bool((found != found.narrow(axis, 0, 1)).any())


def channel_axes(found: Tensor, live: Tensor) -> list[int]:
    """Axes along which channels lie: there classes differ, of which a layer puts out at least one.

    Elements that are neither frozen nor put out by a layer fit any class. `live`: for each label, whether a layer
    puts it out.
    """
    is_live = live[found]
    if not bool(is_live.any()):
        return []
    idle = ~is_live & (found != FROZEN)
    varying = [axis for axis in range(found.dim()) if varies(found, axis)]
    if not varying or not bool(idle.any()):
        return varying
    low, high = found.masked_fill(idle, torch.iinfo(torch.int64).max), found.masked_fill(idle, -1)
    return [axis for axis in varying if bool((high.amax(axis) > low.amin(axis)).any())]


def _shared_view(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Broadcast two label tensors, leaving out the axes along which neither varies."""
    return torch.broadcast_tensors(collapse(a), collapse(b))  # type: ignore[no-any-return]
