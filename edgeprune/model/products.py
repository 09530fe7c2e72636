"""Products of activations with each other: attention's scores and values, kernels that depend on the image.

They have no weights, yet their multiply-adds are multiply-adds: 4 % of ViT-B/16's at 224 pixels, more at more pixels.
An einsum of two factors counts here whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from edgeprune.model.operators import arguments, name_of, stored_operand
from edgeprune.model.shapes import Shapes

FACTORS = 2


@dataclass(frozen=True)
class Product:
    """Of `outer`, a node's tensor, every element is used `reuse` times each index of `inner`, a node and its axis."""

    node: str
    outer: str
    inner: tuple[str, int] | None
    reuse: int
    macs: int


def products_of(node: fx.Node, shapes: Shapes) -> list[Product]:
    """The products that a node is, two for scaled dot-product attention; none for a layer with weights."""
    name = name_of(node)
    if name not in _KINDS or node.name not in shapes:
        return []
    given = arguments(node)
    found = []
    for outer, inner, reuse in _KINDS[name](node, given, shapes):
        length = shapes[inner[0]][inner[1]] if inner is not None else 1
        found.append(Product(node.name, outer, inner, reuse, math.prod(shapes[outer]) * length * reuse))
    return found


_Use = tuple[str, tuple[str, int] | None, int]


def _matmul(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each element of `a [..., m, k] @ b [..., k, n]` sums over k; with a stored matrix it is a layer."""
    factors = [value for value in given.values() if isinstance(value, fx.Node)][-2:]
    stored = [found for factor in factors if (found := stored_operand(factor)) is not None]
    layer = any(len(shapes[matrix.name]) == 2 for matrix in stored)
    if layer:
        return []
    inner = (factors[0].name, -1) if factors[0].op != "get_attr" else (factors[1].name, -2)
    return [(node.name, inner, 1)]


def _attention(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each query meets each key, and each output each value."""
    query, key = given["query"], given["key"]
    assert isinstance(query, fx.Node)
    assert isinstance(key, fx.Node)
    tokens = shapes[key.name][-2]
    return [(query.name, None, tokens), (node.name, None, tokens)]


def _einsum(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each output sums over the letters that it lacks."""
    operands = given["tensors"]
    assert isinstance(operands, (list, tuple))
    if len(operands) != FACTORS:
        return []
    found = summed_axes(str(given["equation"]), [len(shapes[operand.name]) for operand in operands])
    # A letter's axis is that of an activation where one has it: channels are known there.
    places = [
        min(((operands[i], axis) for i, axis in axes), key=lambda place: place[0].op == "get_attr")
        for axes in found.values()
    ]
    inner = [(operand.name, axis) for operand, axis in places]
    return [(node.name, inner[0] if inner else None, math.prod(shapes[name][axis] for name, axis in inner[1:]))]


def summed_axes(equation: str, ranks: Sequence[int]) -> dict[str, list[tuple[int, int]]]:
    """Each letter that an einsum sums over -> the operands and their axes that have it.

    `ranks`: of the operands; an ellipsis stands for the axes that have no letter. Without an arrow the letters that
    occur once are the output's (numpy's implicit mode).
    """
    terms, arrow, out = equation.replace(" ", "").partition("->")
    stays = out if arrow else {letter for letter in terms if terms.count(letter) == 1}
    found: dict[str, list[tuple[int, int]]] = {}
    for operand, (term, rank) in enumerate(zip(terms.split(","), ranks, strict=True)):
        spread = term.replace("...", "." * (rank - len(term) + 3))
        for axis, letter in enumerate(spread):
            if letter != "." and letter not in stays:
                found.setdefault(letter, []).append((operand, axis))
    return found


def _convolution(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each element meets a kernel that is computed from the image."""
    x, weight = given["input"], given["weight"]
    assert isinstance(x, fx.Node)
    assert isinstance(weight, fx.Node)
    outer = x if "transpose" in name_of(node) else node
    return [] if stored_operand(weight) is not None else [(outer.name, None, math.prod(shapes[weight.name][1:]))]


_KINDS = {
    **dict.fromkeys(("matmul", "bmm", "mm", "addmm", "baddbmm"), _matmul),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _convolution for rank in (1, 2, 3)},
}
