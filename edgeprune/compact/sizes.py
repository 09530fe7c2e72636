"""Constants that speak of a width: sizes of views, numbers of groups, shapes of norms, zeros laid around."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import fx

from edgeprune.compact.keeps import Keeps
from edgeprune.model.operators import arguments, name_of, set_argument

aten = torch.ops.aten


def resize(node: fx.Node, keeps: Keeps) -> None:
    """A view's or expand's target size: the cut axis has fewer places now."""
    kept = keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    name = "shape" if name_of(node) == "reshape" else "size"
    size = list(arguments(node).get(name, ()))
    position = axis - (keeps.rank(node) - len(size))
    if size and size[position] != -1:
        # Heads that lie on the batch axis: what was images x heads is images x kept heads.
        batched = isinstance(size[position], fx.Node)
        size[position] = _per_image(node.graph, node, int(mask.sum())) if batched else int(mask.sum())
        set_argument(node, name, size)


def _per_image(graph: fx.Graph, before: fx.Node, count: int) -> fx.Node:
    """The number of images times a count."""
    images = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_before(before):
        batch = graph.call_function(aten.sym_size.int, (images, 0))
        return graph.call_function(operator.mul, (batch, count))


def unflatten(node: fx.Node, keeps: Keeps) -> None:
    given, kept = arguments(node), keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    sizes = list(given["sizes"])
    position = axis - given["dim"] % (keeps.rank(node) - len(sizes) + 1)
    if 0 <= position < len(sizes) and sizes[position] != -1:
        sizes[position] = int(mask.sum())
        set_argument(node, "sizes", sizes)


def groups_of(argument: str) -> Callable[[fx.Node, Keeps], None]:
    """Groups that go whole leave fewer groups; where each lost the same positions, there are as many as before."""

    def rewrite(node: fx.Node, keeps: Keeps) -> None:
        groups = arguments(node)[argument]
        mask = keeps.along(node.args[0], 1)
        if isinstance(groups, int) and groups > 1 and mask is not None:
            set_argument(node, argument, int(mask.view(groups, -1).any(1).sum()))

    return rewrite


def normalized_shape(node: fx.Node, keeps: Keeps) -> None:
    kept = keeps.of(node)
    shape = list(arguments(node)["normalized_shape"])
    position = kept[0] - (keeps.rank(node) - len(shape)) if kept else -1
    if kept is not None and position >= 0:
        shape[position] = int(kept[1].sum())
        set_argument(node, "normalized_shape", shape)


def attention_scale(node: fx.Node, keeps: Keeps) -> None:
    """The default scale follows from the dims of a head; it stays that of the whole head."""
    query = node.args[0]
    assert isinstance(query, fx.Node)
    mask = keeps.along(query, -1)
    if mask is not None and arguments(node)["scale"] is None:
        set_argument(node, "scale", mask.numel() ** -0.5)


def pad(node: fx.Node, keeps: Keeps) -> None:
    """Of zeros laid before and after a cut axis, those stay whose channels stay."""
    x, widths = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    kept = keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    from_end = keeps.rank(node) - 1 - axis
    if 2 * from_end >= len(widths):
        return
    low, high = widths[2 * from_end], widths[2 * from_end + 1]
    widths[2 * from_end] = int(mask[:low].sum())
    widths[2 * from_end + 1] = int(mask[mask.numel() - high :].sum())
    node.args = (x, widths, *node.args[2:])
