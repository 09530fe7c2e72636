"""The state of a label walk through an exported graph, and what rules may do to it.

Activations carry one label per element. A parameter that an operator contracts (a convolution's or linear
layer's weight) is bound *by axis*: each index of an axis carries a label. Any other parameter or buffer carries
one label per element, like an activation, so that it is cut along with what it meets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.labels import FROZEN, Labels, collapse
from edgeprune.model.shapes import Shapes


@dataclass
class Flow:
    """What is known so far. `of`: node -> labels, or a list of them, or a plain number."""

    module: fx.GraphModule
    shapes: Shapes
    labels: Labels = field(default_factory=Labels)
    of: dict[fx.Node, Any] = field(default_factory=dict)
    axes: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    elements: dict[str, Tensor] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    """Parameters that a convolution or linear layer contracts."""
    frozen: dict[str, str] = field(default_factory=dict)
    """Node name -> why what it touches is frozen."""

    def value(self, argument: Any) -> Any:
        """An argument as the walk sees it: labels for tensors, the plain value for everything else."""
        if isinstance(argument, fx.Node):
            if argument.op == "get_attr":
                return self._elements_of(str(argument.target))
            return self.of[argument]
        if isinstance(argument, (list, tuple)):
            return type(argument)(self.value(item) for item in argument)
        return argument

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer of that dotted name."""
        found: Any = self.module
        for part in name.split("."):
            found = getattr(found, part)
        assert isinstance(found, Tensor)
        return found

    def _elements_of(self, name: str) -> Tensor:
        """Labels of a parameter or buffer that is used as a plain tensor; 0 for a single number."""
        if name not in self.elements:
            shape = self.tensor(name).shape
            single = self.tensor(name).numel() == 1
            self.elements[name] = torch.zeros(shape, dtype=torch.int64) if single else self.labels.fresh(*shape)
            for axis, bound in self.axes.get(name, {}).items():  # used both ways: the two must agree
                self.labels.union(self.elements[name].movedim(axis, -1), bound)
        return self.elements[name]

    def bind(self, parameter: Any, axis: int, labels: Tensor) -> Tensor:
        """Say that index i of a parameter's axis is channel `labels[i]`; returns the labels bound there.

        A parameter used twice has one set of labels: the second use unites with the first.
        """
        if not isinstance(parameter, fx.Node):
            return labels
        if parameter.op != "get_attr":  # a computed weight: its producer's labels must follow
            self.labels.union(self.of[parameter].movedim(axis, -1), labels)
            return labels
        name = str(parameter.target)
        if name in self.elements:
            self.labels.union(self.elements[name].movedim(axis, -1), labels)
        bound = self.axes.setdefault(name, {})
        if axis in bound:
            self.labels.union(bound[axis], labels)
        else:
            bound[axis] = labels
        return bound[axis]

    def channels(self, labels: Tensor, axis: int = 1) -> Tensor:
        """Tie what lies at one index of an axis into one label per index."""
        moved = collapse(labels).movedim(axis, 0)
        return self.labels.tie(moved.reshape(moved.shape[0], -1))

    def freeze(self, node: fx.Node, why: str) -> Any:
        """Freeze everything that reaches a node; its own value is frozen labels."""
        for source in node.all_input_nodes:
            for labels in _tensors(self.value(source)):
                self.labels.freeze(collapse(labels))
            for bound in self.axes.get(str(source.target), {}).values() if source.op == "get_attr" else ():
                self.labels.freeze(bound)
        self.frozen[node.name] = why
        return self.frozen_like(node)

    def frozen_like(self, node: fx.Node) -> Tensor:
        """Frozen labels in the shape of a node's value."""
        zero = torch.full((1,), FROZEN, dtype=torch.int64)
        return zero.expand(self.shapes.get(node.name, (1,)))


def spread(channel: Tensor, shape: tuple[int, ...], axis: int = 1) -> Tensor:
    """Lay one label per index of an axis over a whole shape, without memory."""
    view = [1] * len(shape)
    view[axis] = -1
    return channel.reshape(view).expand(shape)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
