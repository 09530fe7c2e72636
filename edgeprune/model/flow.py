"""The state of a label walk through an exported graph, and what rules may do to it.

Activations carry one label per element. A parameter that an operator contracts (a convolution's or linear
layer's weight) is bound *by axis*: each index of an axis carries a label. Any other parameter or buffer carries
one label per element, like an activation, so that it is cut along with what it meets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute
from edgeprune.model.joins import Joins
from edgeprune.model.labels import FROZEN, Labels, channel_axes, collapse
from edgeprune.model.shapes import Shapes
from edgeprune.spec.recipe import AttentionCut, Coupling


@dataclass(frozen=True)
class Meeting:
    """An open question: `small[i]` is the channel of `rows[i]` once those are one, and is frozen if they never are."""

    node: str
    small: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Statistic:
    """A node that computes one number over an axis; where channels lie along it, a cut changes that number."""

    node: str
    labels: Tensor
    axes: tuple[int, ...]
    why: str


@dataclass
class Flow:
    """What is known so far. `of`: node -> labels, or a list of them, or a plain number."""

    module: fx.GraphModule
    shapes: Shapes
    attention: AttentionCut = "dims"
    coupling: Coupling = "group"
    labels: Labels = field(default_factory=Labels)
    of: dict[fx.Node, Any] = field(default_factory=dict)
    axes: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    elements: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    """Parameters that a layer contracts -> the axis of their output channels."""
    minted: list[Tensor] = field(default_factory=list)
    """Output channels of layers: only what is united with one of these, or with a join of them, can be cut."""
    joins: Joins = field(default_factory=Joins)
    meetings: list[Meeting] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    products: dict[str, Tensor] = field(default_factory=dict)
    """Node name -> labels of one of its channel axes, laid out as groups x width: the cut must take either."""
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
        return attribute(self.module, name)

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

    def outputs(self, weight: fx.Node, axis: int, count: int) -> Tensor:
        """Labels of a layer's output channels: minted at the weight's first use."""
        name = str(weight.target)
        self.note_layer(weight, axis)
        known = self.axes.get(name, {}).get(axis)
        if known is not None and known.numel() == count:
            return known
        fresh = self.labels.fresh(count)
        self.minted.append(fresh)
        return fresh

    def note_layer(self, weight: fx.Node, axis: int) -> None:
        """Say that a weight has its output channels on an axis; a kernel that is no parameter has none to choose."""
        if isinstance(self.tensor(str(weight.target)), nn.Parameter):
            self.weights[str(weight.target)] = axis

    def channels(self, labels: Tensor, axis: int = 1) -> Tensor:
        """Tie what lies at one index of an axis into one label per index."""
        moved = collapse(labels).movedim(axis, 0)
        tied = self.labels.tie(moved.reshape(moved.shape[0], -1))
        return tied if len(tied) == labels.shape[axis] else tied.expand(labels.shape[axis])

    def meet(self, node: str, small: Tensor, rows: Tensor) -> None:
        """Say that `small[i]` is the channel of `rows[i]`: now where that is one, later if it becomes one."""
        left = self.settle(Meeting(node, small, rows))
        if left is not None:
            self.meetings.append(left)

    def settle(self, meeting: Meeting) -> Meeting | None:
        """Unite what has become one channel; returns what is still open."""
        found = self.labels.find(meeting.rows)
        one = (found == found[:, :1]).all(1)
        self.labels.union(meeting.small[one], found[one, 0])
        return None if bool(one.all()) else Meeting(meeting.node, meeting.small[~one], meeting.rows[~one])

    def live(self) -> Tensor:
        """Whether each label (by its number) stands for a channel that some layer puts out."""
        known = torch.zeros(self.labels.count, dtype=torch.bool)
        if self.minted:
            known[self.labels.find(torch.cat([*self.minted, self.joins.all()[0]]))] = True
        known[FROZEN] = False
        return known

    def channels_along(self, labels: Tensor, axis: int) -> bool:
        """Whether channels of layers lie along an axis."""
        return axis % labels.dim() in channel_axes(self.labels.find(labels), self.live())

    def freeze(self, node: fx.Node, why: str) -> Any:
        """Freeze everything that reaches a node; its own value is frozen labels."""
        self.freeze_labels(self.reaching(node), node.name, why)
        return self.frozen_like(node)

    def reaching(self, node: fx.Node) -> list[Tensor]:
        """The labels that a node reads."""
        return [collapse(labels) for source in node.all_input_nodes for labels in self._labels_of(source)]

    def freeze_labels(self, touched: list[Tensor], name: str, why: str) -> None:
        """Freeze labels; the reason is kept where a layer's channels are among them."""
        live = self.live()
        if any(bool(live[self.labels.find(labels)].any()) for labels in touched):
            self.frozen[name] = why
        for labels in touched:
            self.labels.freeze(labels)

    def _labels_of(self, source: fx.Node) -> list[Tensor]:
        if source.op != "get_attr":
            return _tensors(self.of[source])
        bound = self.axes.get(str(source.target), {})
        if bound and str(source.target) not in self.elements:
            return list(bound.values())
        return [self._elements_of(str(source.target)), *bound.values()]

    def frozen_like(self, node: fx.Node) -> Tensor:
        """Frozen labels in the shape of a node's value."""
        return frozen(self.shapes.get(node.name, (1,)))


def frozen(shape: tuple[int, ...]) -> Tensor:
    """Frozen labels of a shape, without memory."""
    return torch.full((1,), FROZEN, dtype=torch.int64).expand(shape)


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
