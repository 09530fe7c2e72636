"""What the network weighs on the device: bytes of its weights, and of the activations that live at the same time.

Weights: INT8 ships a layer's weights at one byte, all else (biases, what no layer multiplies with) at four; a
BatchNorm behind a layer is folded into that layer's weights and one bias. Scales and the graph itself come on top.

Activations, at batch 1: a tensor lives from the node that makes it to the last that reads it. Shape operators that
move nothing, and elementwise operators that read an operand for the last time, write where it lies. The peak is over
the order of the exported graph; a runtime that reorders, or that needs room for its kernels, differs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import fx

from edgeprune.model.groups import Group
from edgeprune.model.operators import name_of
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.pruning.cost import label_index
from edgeprune.pruning.quantity import Affine, Floats

FLOAT_BYTES = 4
WIDTH_BYTES = {"int8": 1, "fp32": FLOAT_BYTES}
QUANTIZED = {"conv1d", "conv2d", "conv3d", "linear"}
"""Operators whose weights ship in INT8."""
_STAYS = {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "alias", "detach"}
_STAYS |= {"contiguous", "clone", "dropout", "dropout1d", "dropout2d", "feature_dropout", "alpha_dropout", "to"}
_IN_PLACE = {"batch_norm", "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "sigmoid", "hardsigmoid"}
_IN_PLACE |= {"silu", "hardswish", "gelu", "elu", "selu", "celu", "leaky_relu", "prelu", "tanh", "mish", "softplus"}
_IN_PLACE |= {"add", "sub", "mul", "div"}


def weight_bytes(traced: Traced, names: list[str], precision: str) -> Floats:
    """Bytes per element of each named parameter in the file that ships."""
    found = dict.fromkeys(names, FLOAT_BYTES)
    for node in traced.module.graph.nodes:
        operator, stored = name_of(node), [_stored(argument) for argument in node.args[:3]]
        if operator in QUANTIZED and stored[1] in found:
            found[stored[1]] = WIDTH_BYTES[precision]
        elif operator == "batch_norm" and _folds(before := node.args[0]):
            # Its factor goes into the weights; its bias takes the layer's place.
            assert isinstance(before, fx.Node)
            biases = [_stored(argument) for argument in before.args[2:3]] if stored[2] in found else []
            found.update(dict.fromkeys({stored[1], *biases} & set(found), 0))
    return np.array([*found.values()], dtype=np.float64)


def peak_memory(traced: Traced, found: Provenance, groups: list[Group], precision: str) -> Affine:
    """Bytes of live activations: one part for each moment at which no more are live just before or after."""
    sizes = activations(found, groups)
    places = _places(traced.module.graph, found)
    order = {node: step for step, node in enumerate(traced.module.graph.nodes)}
    born: dict[fx.Node, int] = {}
    dies: dict[fx.Node, int] = {}
    for node, place in places.items():
        born.setdefault(place, order[place])
        dies[place] = max([dies.get(place, 0), order[node], *(order[user] for user in node.users)])
    constant, slope = [], []
    for moment in _fullest(born, dies):
        live = [place for place in born if born[place] <= moment <= dies[place]]
        width = [FLOAT_BYTES if place.op == "placeholder" else WIDTH_BYTES[precision] for place in live]
        constant.append(sum(w * sizes[place.name][0] for w, place in zip(width, live, strict=True)))
        slope.append(sum(w * sizes[place.name][1] for w, place in zip(width, live, strict=True)))
    return Affine(np.array(constant), np.stack(slope))


def activations(found: Provenance, groups: list[Group]) -> dict[str, tuple[float, Floats]]:
    """The elements of every node's tensor at batch 1: those that always stay, and those per unit of each group."""
    index, sizes = label_index(groups), {}
    for name, labels in found.nodes.items():
        if name not in found.shapes:  # several tensors at once, which are taken out one by one
            continue
        whole = math.prod(found.shapes[name])
        each = whole / max(labels.numel(), 1)
        sizes[name] = (whole - each * float(index.count(labels).sum()), each * index.per_unit(labels))
    return sizes


def _folds(layer: Any) -> bool:
    return isinstance(layer, fx.Node) and name_of(layer) in QUANTIZED and len(layer.users) == 1


def _stored(argument: Any) -> str:
    """The name of a parameter that is an argument, or nothing."""
    return str(argument.target) if isinstance(argument, fx.Node) and argument.op == "get_attr" else ""


def _places(graph: fx.Graph, found: Provenance) -> dict[fx.Node, fx.Node]:
    """Computed tensor -> the tensor in whose memory it lies."""
    order = {node: step for step, node in enumerate(graph.nodes)}
    places: dict[fx.Node, fx.Node] = {}
    last: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "get_attr" or node.name not in found.nodes or node.name not in found.shapes:
            continue
        place = node
        operands = [argument for argument in node.all_input_nodes if argument in places]
        if name_of(node) in _STAYS and operands:
            place = places[operands[0]]
        elif name_of(node) in _IN_PLACE:
            shape = found.shapes[node.name]
            dying = [o for o in operands if found.shapes[o.name] == shape and last[places[o]] == order[node]]
            place = places[dying[0]] if dying else node
        places[node] = place
        last[place] = max([last.get(place, 0), *(order[user] for user in node.users)])
    return places


def _fullest(born: dict[fx.Node, int], dies: dict[fx.Node, int]) -> list[int]:
    """The moments at which something dies for the first time since something was born: no others can be a peak."""
    events = sorted([(step, 0) for step in born.values()] + [(step, 1) for step in dies.values()])
    return [step for (step, death), (_, before) in zip(events[1:], events, strict=False) if death and not before]
