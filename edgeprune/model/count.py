"""Multiply-adds and parameters of an exported graph, per layer.

One multiply-add (MAC) is one weight used once for one output; biases, normalisation and pooling are not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeprune.model.rules import convolution_arguments
from edgeprune.model.shapes import Shapes, node_shapes
from edgeprune.model.traced import Traced


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer. `reuse` is how often each weight is used for one image."""

    node: str
    weight: str
    reuse: int
    macs: int


def layers(traced: Traced, shapes: Shapes | None = None) -> list[Layer]:
    """The layers with weights in graph order; a weight used twice is there twice."""
    shapes = shapes or node_shapes(traced)
    found = []
    for node in traced.module.graph.nodes:
        name = getattr(node.target, "__name__", "").split(".")[0]
        if node.op != "call_function" or not (name.startswith("conv") or name == "linear"):
            continue
        weight = node.args[1] if name == "linear" else convolution_arguments(node)[1]
        if weight.op != "get_attr":
            continue
        out, kernel = shapes[node.name], shapes[weight.name]
        # Each weight of a convolution meets every output position of every picture (a view can make several of one
        # image), of a linear layer every row.
        if name == "linear":
            reuse = math.prod(out[:-1])
        elif "transpose" in name:
            reuse = out[0] * math.prod(shapes[node.args[0].name][2:])
        else:
            reuse = out[0] * math.prod(out[2:])
        found.append(Layer(node.name, str(weight.target), reuse, reuse * math.prod(kernel)))
    return found


def macs(traced: Traced) -> int:
    """Multiply-adds for one image."""
    return sum(layer.macs for layer in layers(traced))


def params(traced: Traced) -> int:
    """Number of parameters (BatchNorm's running statistics are buffers and do not count)."""
    return sum(parameter.numel() for parameter in traced.module.parameters())
