"""Channel provenance: which channel every element of every tensor of a network came from.

Every element carries a label; convolutions and linear layers mint one per output channel; shape operators run on
the labels themselves; where labels meet they are united. The classes that remain are what must be kept or cut
together (`groups`). Coupling is thereby read from data flow, not from module types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, fx

from edgeprune.model.flow import Flow
from edgeprune.model.rules import rule_for
from edgeprune.model.settle import settle, slim
from edgeprune.model.shapes import Shapes, batch_axes, node_shapes
from edgeprune.model.traced import Traced
from edgeprune.spec.recipe import AttentionCut, Coupling

TIED = "its outputs go with the image, the output, or a part named here"
"""Why a layer is left whole that no operator of its own froze."""


@dataclass(frozen=True)
class Provenance:
    """Class labels (0 = never cut) of a network's tensors and parameters.

    `nodes`: node name -> labels with at most one varying axis, size 1 along the others.
    `axes`: parameter name -> {axis: labels}, for weights contracted by an operator and for per-channel parameters.
    `weights`: the parameters that layers contract -> the axis of their output channels.
    `frozen`: node or layer name -> why what it touches is frozen.
    `approximate`: node name -> the statistic over channels that a cut changes. The reference computes it over the
    kept channels, as the smaller network does; both differ from the dense network by more than the cut channels.
    """

    nodes: dict[str, Tensor]
    axes: dict[str, dict[int, Tensor]]
    weights: dict[str, int]
    frozen: dict[str, str]
    approximate: dict[str, str]
    shapes: Shapes
    sums: frozenset[str] = frozenset()
    """The nodes that add up terms which are cut each alone (`joins`)."""
    bases: dict[int, frozenset[int]] = field(default_factory=dict)
    """Class of joins -> the classes that add up to it."""

    def closed(self, units: frozenset[int]) -> frozenset[int]:
        """All that goes with the given units: with them, the joins of which no term is left."""
        return units | {join for join, base in self.bases.items() if base <= units}


def provenance(
    traced: Traced,
    keep: tuple[str, ...] = (),
    attention: AttentionCut = "dims",
    statistics: bool = True,
    coupling: Coupling = "group",
) -> Provenance:
    """Label a network.

    Args:
        traced: the network.
        keep: patterns of layer names (`head*`) whose output channels are frozen.
        attention: what an attention loses, whole heads or the same dims of every head.
        statistics: whether channels may go over which a norm or mean is taken (`Provenance.approximate`).
        coupling: whether channels that are added are one, or cut each alone.
    """
    flow = Flow(traced.module, node_shapes(traced), attention, coupling)
    for node in traced.module.graph.nodes:
        _visit(flow, node)
    for name, axis in flow.weights.items():
        layer = name.rpartition(".")[0]
        if axis in flow.axes.get(name, {}) and any(fnmatchcase(layer, pattern) for pattern in keep):
            flow.labels.freeze(flow.axes[name][axis])
            flow.frozen[layer] = "kept by request"
    approximate = settle(flow, batch_axes(traced), statistics)
    for name, axis in flow.weights.items():
        labels = flow.axes.get(name, {}).get(axis)
        if labels is not None and not bool(flow.labels.find(labels).any()):
            layer = name.rpartition(".")[0] or name
            flow.frozen.setdefault(layer, TIED)
    live = flow.live()
    return Provenance(
        nodes={n.name: slim(flow, v, live) for n, v in flow.of.items() if _is_one_tensor(flow, n, v)},
        axes=_parameter_axes(flow, live),
        weights=flow.weights,
        frozen=_located(traced, flow.frozen),
        approximate=_located(traced, approximate),
        shapes=flow.shapes,
        sums=frozenset(flow.joins.nodes),
        bases=flow.joins.bases(flow.labels),
    )


def _visit(flow: Flow, node: fx.Node) -> None:
    if node.op == "placeholder":
        flow.of[node] = flow.frozen_like(node)
    elif node.op == "output":
        for labels in flow.reaching(node):
            flow.labels.freeze(flow.joins.terms_of(flow.labels, flow.labels.find(labels)))
        flow.freeze(node, "it leaves the network")
    elif node.op == "call_function":
        flow.of[node] = _ruled(flow, node)
    elif node.op != "get_attr":
        flow.of[node] = flow.freeze(node, f"no rule for {node.op} {node.target}")


def _ruled(flow: Flow, node: fx.Node) -> Any:
    """What an operator's rule makes of it; one without a rule, or whose rule fails on it, freezes what it touches."""
    rule = rule_for(node.target)
    if rule is None:
        return flow.freeze(node, f"no rule for {node.target}")
    try:
        return rule(flow, node)
    except Exception as error:  # a form of the operator that its rule does not know
        return flow.freeze(node, f"the rule for {node.target} does not know this form ({type(error).__name__})")


def _located(traced: Traced, reasons: dict[str, str]) -> dict[str, str]:
    """Reasons by node name, with the module that each node comes from."""
    paths = {}
    for node in traced.module.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        paths[node.name] = next((path for path, _ in reversed(stack.values()) if path), "")
    return {name: f"{why}, in {path}" if (path := paths.get(name)) else why for name, why in reasons.items()}


def _is_one_tensor(flow: Flow, node: fx.Node, value: Any) -> bool:
    return isinstance(value, Tensor) and node.name in flow.shapes


def _parameter_axes(flow: Flow, live: Tensor) -> dict[str, dict[int, Tensor]]:
    """Labels by axis of every parameter that can be cut; what no layer puts out counts as frozen."""

    def found(labels: Tensor) -> Tensor:
        classes = flow.labels.find(labels)
        return classes.where(live[classes], 0)

    axes = {name: {axis: found(labels) for axis, labels in bound.items()} for name, bound in flow.axes.items()}
    for name, elements in flow.elements.items():
        narrow = slim(flow, elements, live)
        varying = [axis for axis in range(narrow.dim()) if narrow.shape[axis] > 1]
        if varying:
            axes[name] = {**axes.get(name, {}), varying[0]: narrow.reshape(-1)}
        elif narrow.numel() and int(narrow.reshape(-1)[0]) != 0:
            axis = max(range(elements.dim()), key=lambda d: elements.shape[d])
            axes[name] = {**axes.get(name, {}), axis: narrow.reshape(-1).expand(elements.shape[axis])}
    return axes
