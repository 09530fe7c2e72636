"""Channel provenance: which channel every element of every tensor of a network came from.

Every element carries a label; convolutions and linear layers mint one per output channel; shape operators run on
the labels themselves; where labels meet they are united. The classes that remain are what must be kept or cut
together (`groups`). Coupling is thereby read from data flow, not from module types.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow
from edgeprune.model.labels import FROZEN, Labels, collapse
from edgeprune.model.rules import RULES
from edgeprune.model.shapes import Shapes, node_shapes
from edgeprune.model.traced import Traced


@dataclass(frozen=True)
class Provenance:
    """Class labels (0 = never cut) of a network's tensors and parameters.

    `nodes`: node name -> labels with at most one varying axis, size 1 along the others.
    `axes`: parameter name -> {axis: labels}, for weights contracted by an operator and for per-channel parameters.
    `weights`: the parameters that convolutions and linear layers contract.
    `frozen`: node name -> why what it touches is frozen.
    """

    nodes: dict[str, Tensor]
    axes: dict[str, dict[int, Tensor]]
    weights: frozenset[str]
    frozen: dict[str, str]
    shapes: Shapes


def provenance(traced: Traced, keep: tuple[str, ...] = ()) -> Provenance:
    """Label a network. `keep`: patterns of layer names (`head*`) whose output channels are frozen."""
    flow = Flow(traced.module, node_shapes(traced))
    for node in traced.module.graph.nodes:
        _visit(flow, node)
    for name, bound in flow.axes.items():
        layer = name.rpartition(".")[0]
        if 0 in bound and any(fnmatchcase(layer, pattern) for pattern in keep):
            flow.labels.freeze(bound[0])
            flow.frozen[layer] = "kept by request"
    tensors = {n.name: v for n, v in flow.of.items() if isinstance(v, Tensor)}
    lists = {f"{n.name}.{i}": v for n, vs in flow.of.items() if isinstance(vs, (list, tuple)) for i, v in enumerate(vs)}
    parameters = {f"parameter {name}": labels for name, labels in flow.elements.items()}
    every = {**tensors, **lists, **parameters}
    _one_axis_each(flow.labels, every)
    _freeze_uncuttable(flow, {**tensors, **lists})
    return Provenance(
        nodes={name: _thin(flow.labels, labels) for name, labels in tensors.items()},
        axes={
            **{name: {a: flow.labels.find(v) for a, v in bound.items()} for name, bound in flow.axes.items()},
            **_element_axes(flow),
        },
        weights=frozenset(flow.weights),
        frozen=flow.frozen,
        shapes=flow.shapes,
    )


def unmatched(found: Provenance, keep: tuple[str, ...]) -> list[str]:
    """Patterns that match no layer with weights."""
    layers = {name.rpartition(".")[0] for name in found.weights}
    return [pattern for pattern in keep if not any(fnmatchcase(layer, pattern) for layer in layers)]


def _visit(flow: Flow, node: fx.Node) -> None:
    if node.op == "placeholder":
        flow.of[node] = flow.frozen_like(node)
    elif node.op == "output":
        flow.freeze(node, "it leaves the network")
    elif node.op == "call_function":
        rule = RULES.get(node.target)
        flow.of[node] = rule(flow, node) if rule else flow.freeze(node, f"no rule for {_operator(node.target)}")
    elif node.op != "get_attr":
        flow.of[node] = flow.freeze(node, f"no rule for {node.op} {node.target}")


def _operator(target: Any) -> str:
    return str(target)


def _one_axis_each(labels: Labels, tensors: dict[str, Tensor]) -> None:
    """Tie labels until those of every tensor vary along one axis at most, so that every cut is a slice.

    A view that splits a channel axis (groups x width) leaves labels that vary along both factors. Equal positions
    of the shorter factor are tied: the cut then takes the same share of each. Tying in one tensor can reach
    another, hence the repetition; classes only shrink in number, so it ends.
    """
    changed = True
    while changed:
        changed = False
        for tensor in tensors.values():
            found = labels.find(collapse(tensor))
            varying = _varying_axes(found)
            if len(varying) < 2:
                continue
            changed = True
            longest = max(varying, key=lambda axis: found.shape[axis])
            moved = found.movedim(longest, 0)
            labels.tie(moved.reshape(moved.shape[0], -1))


def _freeze_uncuttable(flow: Flow, tensors: dict[str, Tensor]) -> None:
    """Freeze channels that lie along the batch axis, and those that are all there is of a tensor."""
    for name, tensor in tensors.items():
        found = flow.labels.find(collapse(tensor))
        along_batch = found.dim() > 1 and 0 in _varying_axes(found)
        if (along_batch or found.unique().numel() == 1) and bool((found != FROZEN).any()):
            flow.labels.freeze(found)
            flow.frozen[name] = "its channels lie along the batch axis" if along_batch else "it has one channel"


def _varying_axes(found: Tensor) -> list[int]:
    return [d for d in range(found.dim()) if found.shape[d] > 1 and bool((found != found.narrow(d, 0, 1)).any())]


def _thin(labels: Labels, tensor: Tensor) -> Tensor:
    found = labels.find(collapse(tensor))
    varying = _varying_axes(found)
    for d in range(found.dim()):
        if d not in varying:
            found = found.narrow(d, 0, 1)
    return found


def _element_axes(flow: Flow) -> dict[str, dict[int, Tensor]]:
    """Parameters labelled by element, as the one axis along which they vary."""
    axes: dict[str, dict[int, Tensor]] = {}
    for name, elements in flow.elements.items():
        if elements.dim() == 0:
            continue
        thin = _thin(flow.labels, elements)
        varying = _varying_axes(thin)
        # One label all over: a parameter of one channel, or one whose elements are all one class.
        axis = varying[0] if varying else int(torch.tensor(elements.shape).argmax())
        line = thin.reshape(-1).expand(elements.shape[axis])
        if bool((line != FROZEN).any()):
            axes[name] = {**flow.axes.get(name, {}), axis: line}
    return axes
