"""Multiply-adds and parameters of an exported graph, per layer.

One multiply-add (MAC) is one weight used once for one output, or one activation that meets another in a product;
biases, normalisation and pooling are not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import fx

from edgeprune.model.operators import arguments, convolution_arguments, name_of, stored_operand
from edgeprune.model.products import Product, products_of
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
        contraction = _contraction(node, shapes)
        if contraction is not None:
            weight, reuse = contraction
            found.append(Layer(node.name, str(weight.target), reuse, reuse * math.prod(shapes[weight.name])))
    return found


def _contraction(node: fx.Node, shapes: Shapes) -> tuple[fx.Node, int] | None:
    """A layer's weight, and how often each of its elements is used for one image.

    Each weight of a convolution meets every output position (transposed: every input position) of every picture, of
    which a view can make several from one image; each weight of a linear layer or matrix product every row.
    """
    name, out = name_of(node), shapes.get(node.name, ())
    if name.startswith("conv") and name.endswith("d") and "input" in arguments(node):
        x, weight, _, _ = convolution_arguments(node)
        places = shapes[x.name] if "transpose" in name else out
        stored = stored_operand(weight)
        return (stored, places[0] * math.prod(places[2:])) if stored is not None else None
    if name == "linear":
        stored = stored_operand(arguments(node)["weight"])
        return (stored, math.prod(out[:-1])) if stored is not None else None
    if name in {"matmul", "mm", "bmm", "addmm"}:
        left, right = [factor for factor in node.args if isinstance(factor, fx.Node)][-2:]
        vectors = len(shapes[left.name]) == 1, len(shapes[right.name]) == 1  # each weight is used once for them
        for factor, used in (
            (right, () if vectors[0] else out[:-1]),
            (left, () if vectors[1] else (*out[:-2], out[-1])),
        ):
            stored = stored_operand(factor)
            if stored is not None and len(shapes[stored.name]) == 2:
                return stored, math.prod(used)
    return None


def products(traced: Traced, shapes: Shapes | None = None) -> list[Product]:
    """The products of activations with each other, in graph order."""
    shapes = shapes or node_shapes(traced)
    return [found for node in traced.module.graph.nodes for found in products_of(node, shapes)]


def macs(traced: Traced) -> int:
    """Multiply-adds for one image, of layers and of products between activations."""
    shapes = node_shapes(traced)
    weighted = sum(layer.macs for layer in layers(traced, shapes))
    return weighted + sum(product.macs for product in products(traced, shapes))


def params(traced: Traced) -> int:
    """Number of parameters (BatchNorm's running statistics are buffers and do not count)."""
    return sum(parameter.numel() for parameter in traced.module.parameters())
