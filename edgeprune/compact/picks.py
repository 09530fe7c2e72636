"""Operators that pick places along an axis: after a cut they pick the same channels at their new places."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgeprune.compact.keeps import Keeps
from edgeprune.model.attributes import attribute
from edgeprune.model.operators import arguments

aten = torch.ops.aten


def slice_(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    _take_range(node, given["self"], given["dim"], slice(given["start"], given["end"], given["step"]), keeps)


def narrow(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    if isinstance(given["start"], int) and isinstance(given["length"], int):
        taken = slice(given["start"], given["start"] + given["length"], 1)
        _take_range(node, given["self"] if "self" in given else given["input"], given["dim"], taken, keeps)


def _take_range(node: fx.Node, x: fx.Node, dim: int, places: slice, keeps: Keeps) -> None:
    before, after = keeps.along(x, dim), keeps.along(node, dim)
    if before is None:
        return
    taken = torch.arange(before.numel())[places]
    if after is not None:
        taken = taken[after]
    _take(node, x, dim, (before.cumsum(0) - 1)[taken])


def _take(node: fx.Node, x: fx.Node, dim: int, taken: Tensor) -> None:
    """Take the given places: as a slice where they are a range with a step, else as a gather."""
    gaps = taken.diff().unique()
    if taken.numel() and gaps.numel() <= 1 and (gaps.numel() == 0 or int(gaps) > 0):
        step = int(gaps) if gaps.numel() else 1
        node.target = aten.slice.Tensor
        node.args = (x, dim, int(taken[0]), int(taken[-1]) + 1, step)
        node.kwargs = {}
        return
    node.target, node.args, node.kwargs = aten.index_select.default, (x, dim, _index(node, taken)), {}


def _index(node: fx.Node, taken: Tensor) -> fx.Node:
    """A new buffer of places, read before a node."""
    graph, name = node.graph, f"_gather_{node.name}"
    assert graph.owning_module is not None
    graph.owning_module.register_buffer(name, taken)
    with graph.inserting_before(node):
        return graph.get_attr(name)


def index_select(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    _pick(node, given["self"], given["dim"], given["index"], keeps)


def index(node: fx.Node, keeps: Keeps) -> None:
    """`x[:, index]`: an index along the cut axis; beside it there may be none."""
    given = arguments(node)
    x, kept = given["self"], keeps.of(given["self"])
    known = [axis for axis, index in enumerate(given["indices"]) if index is not None]
    if kept is not None and known == [kept[0]] and keeps.rank(given["indices"][known[0]]) == 1:
        _pick(node, x, known[0], given["indices"][known[0]], keeps)


def _pick(node: fx.Node, x: fx.Node, dim: int, index: fx.Node, keeps: Keeps) -> None:
    before, after = keeps.along(x, dim), keeps.along(node, dim)
    if before is None or index.op != "get_attr":
        return
    assert node.graph.owning_module is not None
    taken = attribute(node.graph.owning_module, str(index.target)).cpu() % before.numel()
    if after is not None:
        taken = taken[after]
    _take(node, x, dim, (before.cumsum(0) - 1)[taken])


def roll(node: fx.Node, keeps: Keeps) -> None:
    """Channels that are rolled around are picked in their new order; other axes go on rolling."""
    given, kept = arguments(node), keeps.of(node)
    if kept is None:
        return
    axis, after = kept
    turns = list(zip(given["shifts"], [dim % keeps.rank(node) for dim in given["dims"]], strict=True))
    places = torch.arange(after.numel())
    for shift, dim in turns:
        places = places.roll(shift) if dim == axis else places
    before = keeps.along(given["self"], axis)
    left = [turn for turn in turns if turn[1] != axis]
    if before is None or len(left) == len(turns):
        return
    x = given["self"]
    if left:
        with node.graph.inserting_before(node):
            x = node.graph.call_function(aten.roll.default, (x, [s for s, _ in left], [d for _, d in left]))
    _take(node, x, axis, (before.cumsum(0) - 1)[places[after]])


def select(node: fx.Node, keeps: Keeps) -> None:
    x, dim, index = node.args
    before = keeps.along(x, dim)  # type: ignore[arg-type]
    if before is not None:
        place = int(index) % before.numel()  # type: ignore[arg-type]
        node.update_arg(2, int(before[:place].sum()))


def split(node: fx.Node, keeps: Keeps) -> None:
    """Pieces of a cut axis have sizes of their own."""
    given = arguments(node)
    x, dim = given["self"], given["dim"]
    before = keeps.along(x, dim)
    if before is None:
        return
    whole = torch.arange(before.numel())
    pieces = node.target(whole, node.args[1], 0)  # type: ignore[operator]
    node.target = aten.split_with_sizes.default
    node.args, node.kwargs = (x, [int(before[piece].sum()) for piece in pieces], dim), {}
