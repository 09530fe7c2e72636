"""Labels through products of activations: attention in all its spellings.

In `a [..., m, k] @ b [..., k, n]` index k of both is one channel. Whether an attention loses whole heads or the same
dims of every head is the recipe's choice (`Flow.attention`), because a tensor `[heads, tokens, dims]` can only be cut
along one of its axes:

- dims: the scores belong to no channel, and q, k, v lose the same dims in every head;
- heads: all dims of a head are one channel, and so are its scores, its biases, and its values.

Where both other axes carry channels (channel attention, `q' k` over tokens), only whole heads are left to cut; of a
product without heads one side stays whole.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow, frozen
from edgeprune.model.labels import collapse
from edgeprune.model.letters import spelled_out
from edgeprune.model.operators import arguments
from edgeprune.model.rules.layers import matrix_product
from edgeprune.model.rules.pointwise import unite


def matmul(flow: Flow, node: fx.Node) -> Any:
    a, b = node.args[0], node.args[1]
    assert isinstance(a, fx.Node)
    assert isinstance(b, fx.Node)
    if b.op == "get_attr" and flow.tensor(str(b.target)).dim() == 2:
        return matrix_product(flow, node, a, b, left=False)
    if a.op == "get_attr" and flow.tensor(str(a.target)).dim() == 2:
        return matrix_product(flow, node, b, a, left=True)
    first, second = flow.value(a), flow.value(b)
    if first.dim() < 2 or second.dim() < 2:
        return flow.freeze(node, "a product with a vector")
    return contract(flow, first, second)


def biased_matmul(flow: Flow, node: fx.Node) -> Any:
    """`bias + x @ weight`."""
    given = arguments(node)
    bias, x, weight = given["self"], given["mat1"], given["mat2"]
    if weight.op != "get_attr" or bias.op != "get_attr" or flow.tensor(str(bias.target)).dim() != 1:
        return flow.freeze(node, "a product with a weight that depends on the image")
    labels = matrix_product(flow, node, x, weight, left=False)
    flow.bind(bias, 0, flow.channels(labels, -1))
    return labels


def attention(flow: Flow, node: fx.Node) -> Any:
    """Scaled dot-product attention: `softmax(q k' + mask) v`."""
    given = arguments(node)
    q, k, v = (flow.value(given[name]) for name in ("query", "key", "value"))
    if given.get("enable_gqa"):
        k, v = (t.repeat_interleave(q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    scores = contract(flow, q, k.transpose(-1, -2))
    if given["attn_mask"] is not None:
        unite(flow, node.name, flow.value(given["attn_mask"]), scores)
    return contract(flow, scores, v)


def contract(flow: Flow, a: Tensor, b: Tensor) -> Tensor:
    """Labels of `a [*batch, m, k] @ b [*batch, k, n]`."""
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    left, right = collapse(a), collapse(b)
    some = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    inner = max(left.shape[-1], right.shape[-2])
    left = left.expand(*some, left.shape[-2], inner).reshape(-1, left.shape[-2], inner)
    right = right.expand(*some, inner, right.shape[-1]).reshape(-1, inner, right.shape[-1])
    by_inner = flow.channels_along(left, 2), flow.channels_along(right, 1)
    for whole, other, inside, along in ((right, left, by_inner[0], 1), (left, right, by_inner[1], 2)):
        if any(by_inner) and not inside and flow.channels_along(other, along):
            # The other side has its channels elsewhere, so it cannot be cut along index k, nor can this one.
            flow.labels.freeze(whole)
            by_inner = False, False
    if any(by_inner):
        per_batch = _contracted(flow, left, right)
        return frozen(shape) if per_batch is None else per_batch.view(*some, 1, 1).expand(shape)
    rows, columns = _outer(flow, left[:, :, 0], right[:, 0])
    if rows is not None:
        return rows.view(*some, -1, 1).expand(shape)
    return columns.view(*some, 1, columns.shape[-1]).expand(shape)


def _contracted(flow: Flow, left: Tensor, right: Tensor) -> Tensor | None:
    """Tie index k of both; one label per batch element where whole heads are cut, else None: it stays whatever goes."""
    inner = flow.labels.tie(torch.cat([left.transpose(1, 2), right], 2).flatten(0, 1)).view(left.shape[0], -1)
    if len(inner) == 1:
        return None
    if flow.attention == "heads" or not flow.channels_along(inner, 1):
        return flow.labels.tie(inner)
    flow.labels.tie(inner.T)
    return None


def _outer(flow: Flow, rows: Tensor, columns: Tensor) -> tuple[Tensor | None, Tensor]:
    """Labels of the product's rows `[batch, m]` or, where the rows carry no channels, of its columns `[batch, n]`."""
    by_row, by_column = flow.channels_along(rows, 1), flow.channels_along(columns, 1)
    if by_row and by_column and len(rows) > 1:
        return flow.labels.tie(torch.cat([rows, columns], 1))[:, None], columns
    if by_row and by_column:  # no heads to cut: the shorter side stays whole
        by_row = rows.shape[1] >= columns.shape[1]
        flow.labels.freeze(columns if by_row else rows)
    if by_row:
        return _beside(flow, columns[:, 0], rows), columns
    if by_column:
        return None, _beside(flow, rows[:, 0], columns)
    flow.labels.union(rows[:, :1], columns[:, :1])
    return None, columns[:, :1]


def _beside(flow: Flow, heads: Tensor, wide: Tensor) -> Tensor:
    """Labels `wide [batch, n]` multiplied by something with one label per batch element, `heads [batch]`."""
    if len(heads) == 1:
        return wide
    if flow.attention == "heads" and bool(flow.live()[flow.labels.find(heads)].any()):
        return flow.labels.tie(torch.cat([heads[:, None], wide], 1))[:, None]
    # The other factor keeps all its heads, so every head must lose the same dims.
    flow.labels.freeze(heads)
    return flow.labels.tie(wide.T.contiguous())[None].expand(len(heads), -1)


def einsum(flow: Flow, node: fx.Node) -> Any:
    """A product of two tensors, letters instead of axes; brought into the form of `contract` and back."""
    given = arguments(node)
    operands = [flow.value(operand) for operand in given["tensors"]]
    letters, out = spelled_out(given["equation"], [operand.dim() for operand in operands])
    plain = len(operands) == 2 and out and all(len(set(t)) == len(t) for t in letters)
    if not plain:
        return flow.freeze(node, f"einsum {given['equation']} is not a plain product of two")
    first, second = letters
    both = [c for c in first if c in second]
    batch, inner = [c for c in both if c in out], [c for c in both if c not in out]
    rows, columns = [c for c in first if c not in both], [c for c in second if c not in both]
    if set(rows + columns) - set(out):
        return flow.freeze(node, f"einsum {given['equation']}")
    size = {c: n for term, t in zip(letters, operands, strict=True) for c, n in zip(term, t.shape, strict=True)}

    def laid(labels: Tensor, term: str, *parts: list[str]) -> Tensor:
        moved = labels.permute([term.index(c) for part in parts for c in part])
        return moved.reshape([size[c] for c in parts[0]] + [math.prod(size[c] for c in part) for part in parts[1:]])

    found = contract(
        flow, laid(operands[0], first, batch, rows, inner), laid(operands[1], second, batch, inner, columns)
    )
    order = batch + rows + columns
    return found.reshape([size[c] for c in order]).permute([order.index(c) for c in out])
