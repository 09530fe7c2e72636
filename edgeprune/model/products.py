"""Products of activations with each other: attention's scores and values, kernels that depend on the image.

They have no weights, yet their multiply-adds are multiply-adds: 4 % of ViT-B/16's at 224 pixels, more at more pixels.
A contraction whose weight is a part of a parameter, and an einsum of two factors, count here whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from edgeprune.model.letters import contracted_axes
from edgeprune.model.operators import arguments, name_of, stored_operand
from edgeprune.model.shapes import Shapes


@dataclass(frozen=True)
class Product:
    """`elements` numbers that lie as `outer`, a node's tensor, does, each used `reuse` times along `inner`.

    `inner`: a node and its axis, that of the sum; None where its length is in `reuse`.
    """

    node: str
    outer: str
    elements: int
    inner: tuple[str, int] | None
    reuse: int
    macs: int


def products_of(node: fx.Node, shapes: Shapes) -> list[Product]:
    """The products that a node is, two for scaled dot-product attention; none for a layer with weights."""
    name = name_of(node)
    if name not in _KINDS or node.name not in shapes:
        return []
    found = []
    for outer, elements, inner, reuse in _KINDS[name](node, arguments(node), shapes):
        length = shapes[inner[0]][inner[1]] if inner is not None else 1
        found.append(Product(node.name, outer, elements, inner, reuse, elements * length * reuse))
    return found


_Use = tuple[str, int, tuple[str, int] | None, int]


def _matmul(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each element of `a [..., m, k] @ b [..., k, n]` sums over k; with a stored matrix it is a layer."""
    first, second = [value for value in given.values() if isinstance(value, fx.Node)][-2:]
    stored = [found for factor in (first, second) if (found := stored_operand(factor)) is not None]
    if any(len(shapes[matrix.name]) == 2 for matrix in stored):
        return []
    inner = (first.name, -1)
    if first.op == "get_attr":
        inner = (second.name, max(-2, -len(shapes[second.name])))
    return [(node.name, math.prod(shapes[node.name]), inner, 1)]


def _linear(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Rows that meet a weight that is computed, or a part of a parameter."""
    x, weight = given["input"], given["weight"]
    assert isinstance(x, fx.Node)
    stored = stored_operand(weight) is not None
    return [] if stored else [(node.name, math.prod(shapes[node.name]), (x.name, -1), 1)]


def _attention(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each query meets each key, and each output each value."""
    query, key = given["query"], given["key"]
    assert isinstance(query, fx.Node)
    assert isinstance(key, fx.Node)
    out, tokens = shapes[node.name], shapes[key.name][-2]
    queries = math.prod(out[:-1]) * shapes[query.name][-1]  # a learned query is one for all images and heads
    return [(query.name, queries, None, tokens), (node.name, math.prod(out), None, tokens)]


def _einsum(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each output sums over the letters that both factors have and it lacks."""
    operands = given["tensors"]
    assert isinstance(operands, (list, tuple))
    axes = contracted_axes(str(given["equation"]), [len(shapes[operand.name]) for operand in operands])
    if not axes:
        return []
    # The axis is that of an activation where one has it: channels are known there.
    side = 1 if operands[0].op == "get_attr" else 0
    inner = [(operands[side].name, pair[side]) for pair in axes]
    rest = math.prod(shapes[name][axis] for name, axis in inner[1:])
    return [(node.name, math.prod(shapes[node.name]), inner[0], rest)]


def _convolution(node: fx.Node, given: dict[str, object], shapes: Shapes) -> list[_Use]:
    """Each element meets a kernel that is computed from the image."""
    x, weight = given["input"], given["weight"]
    assert isinstance(x, fx.Node)
    assert isinstance(weight, fx.Node)
    if stored_operand(weight) is not None:
        return []
    outer = x if "transpose" in name_of(node) else node
    return [(outer.name, math.prod(shapes[outer.name]), None, math.prod(shapes[weight.name][1:]))]


_KINDS: dict[str, Callable[[fx.Node, dict[str, object], Shapes], list[_Use]]] = {
    **dict.fromkeys(("matmul", "bmm", "mm", "addmm", "baddbmm"), _matmul),
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _convolution for rank in (1, 2, 3)},
}
CONTRACTIONS = frozenset(_KINDS)
"""Operators that multiply two tensors and sum, layers with weights among them."""
