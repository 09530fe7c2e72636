"""Which places of every tensor stay under given cuts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.labels import FROZEN
from edgeprune.model.provenance import Provenance


def kept_axis(labels: Tensor, shape: tuple[int, ...], units: frozenset[int]) -> tuple[int, Tensor] | None:
    """Return (axis, kept mask over that axis) of a tensor, or None where nothing of it is cut.

    `labels` vary along one axis at most (`Provenance.nodes`), `shape` is the tensor's full shape.
    """
    gone = torch.isin(labels, torch.tensor(sorted(units), dtype=torch.int64)) & (labels != FROZEN)
    if not bool(gone.any()):
        return None
    varying = [d for d in range(labels.dim()) if labels.shape[d] > 1]
    assert len(varying) == 1, "a whole tensor cannot be cut"
    assert labels.shape[varying[0]] == shape[varying[0]]
    return varying[0], ~gone.reshape(-1)


def picked(value: Tensor, kept: tuple[int, Tensor] | None) -> Tensor:
    """What stays of a tensor, from its axis and mask as `kept_axis` gives them."""
    if kept is None:
        return value
    axis, mask = kept
    # Where heads lie on the batch axis, every image has them once.
    mask = mask.repeat(value.shape[axis] // mask.numel())
    return value.index_select(axis, mask.nonzero().flatten().to(value.device))


class Keeps:
    """Kept masks of a graph's nodes under given cuts."""

    def __init__(self, found: Provenance, units: frozenset[int]) -> None:
        self._found, self._units = found, units

    def of(self, node: fx.Node) -> tuple[int, Tensor] | None:
        if node.op == "get_attr":
            return next(iter(self.of_parameter(str(node.target)).items()), None)
        labels = self._found.nodes.get(node.name)
        return None if labels is None else kept_axis(labels, self._found.shapes[node.name], self._units)

    def along(self, node: Any, axis: int) -> Tensor | None:
        """The kept mask along one axis, if that is the axis that is cut."""
        found = self.of(node) if isinstance(node, fx.Node) else None
        if found is None:
            return None
        return found[1] if found[0] == axis % self.rank(node) else None

    def knows(self, node: fx.Node) -> bool:
        """Whether a node's value is one tensor with labels."""
        return node.name in self._found.nodes

    def adds_apart(self, node: fx.Node) -> bool:
        """Whether a node adds up terms that are cut each alone."""
        return node.name in self._found.sums

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """A tensor's shape for one image, before the cut."""
        return self._found.shapes[node.name]

    def rank(self, node: fx.Node) -> int:
        return len(self._found.shapes[node.name])

    def of_parameter(self, name: str) -> dict[int, Tensor]:
        """The kept masks of a parameter's or buffer's axes, of those that are cut."""
        gone = torch.tensor(sorted(self._units), dtype=torch.int64)
        masks = {axis: ~torch.isin(labels, gone) for axis, labels in self._found.axes.get(name, {}).items()}
        return {axis: mask for axis, mask in masks.items() if not bool(mask.all())}
