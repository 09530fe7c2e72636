"""Cut channels out of an exported graph: parameters, buffers, and every constant that speaks of a width."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.model.labels import FROZEN
from edgeprune.model.provenance import Provenance
from edgeprune.model.rules import convolution_arguments

aten = torch.ops.aten


def kept_axis(labels: Tensor, shape: tuple[int, ...], units: frozenset[int]) -> tuple[int, Tensor] | None:
    """Return (axis, kept mask over that axis) of a tensor, or None where nothing of it is cut.

    `labels` vary along one axis at most (`Provenance.nodes`), `shape` is the tensor's full shape.
    """
    gone = torch.isin(labels, torch.tensor(sorted(units), dtype=torch.int64)) & (labels != FROZEN)
    if not bool(gone.any()):
        return None
    varying = [d for d in range(labels.dim()) if labels.shape[d] > 1]
    assert len(varying) == 1, "a whole tensor cannot be cut"
    assert labels.shape[varying[0]] == shape[varying[0]]
    return varying[0], ~gone.reshape(-1)


class _Keeps:
    """Kept masks of a graph's nodes under given cuts."""

    def __init__(self, found: Provenance, units: frozenset[int]) -> None:
        self._found, self._units = found, units

    def of(self, node: fx.Node) -> tuple[int, Tensor] | None:
        labels = self._found.nodes.get(node.name)
        return None if labels is None else kept_axis(labels, self._found.shapes[node.name], self._units)

    def along(self, node: Any, axis: int) -> Tensor | None:
        """The kept mask along one axis, if that is the axis that is cut."""
        found = self.of(node) if isinstance(node, fx.Node) else None
        if found is None:
            return None
        rank = len(self._found.shapes[node.name])
        return found[1] if found[0] == axis % rank else None


def cut(module: fx.GraphModule, found: Provenance, units: frozenset[int]) -> fx.GraphModule:
    """Return a copy of the graph without the given units. Its node names stay; export it again before use."""
    thin = copy.deepcopy(module)
    slice_parameters(thin, found, units)
    keeps = _Keeps(found, units)
    for node in list(thin.graph.nodes):
        if node.op == "call_function" and node.target in _REWRITES:
            _REWRITES[node.target](node, keeps)
    thin.graph.lint()
    thin.recompile()
    return thin


def slice_parameters(module: nn.Module, found: Provenance, units: frozenset[int]) -> None:
    """Cut parameters and buffers along their bound axes, in place."""
    gone = torch.tensor(sorted(units), dtype=torch.int64)
    for name, bound in found.axes.items():
        *path, leaf = name.split(".")
        owner = module.get_submodule(".".join(path))
        tensor = getattr(owner, leaf)
        for axis, labels in bound.items():
            mask = ~torch.isin(labels, gone)
            if not bool(mask.all()):
                tensor = tensor.detach().index_select(axis, mask.nonzero().flatten().to(tensor.device))
        if tensor is not getattr(owner, leaf):
            is_parameter = isinstance(getattr(owner, leaf), nn.Parameter)
            setattr(owner, leaf, nn.Parameter(tensor.contiguous()) if is_parameter else tensor.contiguous())


def _resize(node: fx.Node, keeps: _Keeps) -> None:
    """A view's or expand's target size: the cut axis has fewer places now."""
    kept = keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    size = list(node.args[1])  # type: ignore[arg-type]
    if isinstance(size[axis], int) and size[axis] != -1:
        size[axis] = int(mask.sum())
        node.update_arg(1, size)


def _conv(node: fx.Node, keeps: _Keeps) -> None:
    """A depthwise convolution has as many groups as channels."""
    x, _, _, groups = convolution_arguments(node)
    mask = keeps.along(x, 1)
    if groups == 1 or mask is None or mask.numel() != groups:
        return
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    position = names.index("groups")
    if position < len(node.args):
        node.update_arg(position, int(mask.sum()))
    else:
        node.update_kwarg("groups", int(mask.sum()))


def _slice(node: fx.Node, keeps: _Keeps) -> None:
    x, dim, start, end, step = _defaults(node, (None, 0, None, None, 1))
    before, after = keeps.along(x, dim), keeps.along(node, dim)
    if before is None:
        return
    taken = torch.arange(before.numel())[slice(start, end, step)]
    if after is not None:
        taken = taken[after]
    taken = (before.cumsum(0) - 1)[taken]
    _take(node, x, dim, taken)


def _take(node: fx.Node, x: fx.Node, dim: int, taken: Tensor) -> None:
    """Take the given places: as a slice where they are a range with a step, else as a gather."""
    gaps = taken.diff().unique()
    if taken.numel() and gaps.numel() <= 1 and (gaps.numel() == 0 or int(gaps) > 0):
        step = int(gaps) if gaps.numel() else 1
        node.args = (x, dim, int(taken[0]), int(taken[-1]) + 1, step)
        node.kwargs = {}
        return
    graph = node.graph
    name = f"_gather_{node.name}"
    assert graph.owning_module is not None
    graph.owning_module.register_buffer(name, taken)
    with graph.inserting_before(node):
        index = graph.get_attr(name)
    node.target, node.args, node.kwargs = aten.index_select.default, (x, dim, index), {}


def _select(node: fx.Node, keeps: _Keeps) -> None:
    x, dim, index = node.args
    before = keeps.along(x, dim)  # type: ignore[arg-type]
    if before is not None:
        place = int(index) % before.numel()  # type: ignore[arg-type]
        node.update_arg(2, int(before[:place].sum()))


def _split(node: fx.Node, keeps: _Keeps) -> None:
    """Pieces of a cut axis have sizes of their own."""
    x, dim = node.args[0], node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    before = keeps.along(x, dim)  # type: ignore[arg-type]
    if before is None:
        return
    whole = torch.arange(before.numel())
    pieces = node.target(whole, node.args[1], 0)  # type: ignore[operator]
    node.target = aten.split_with_sizes.default
    node.args, node.kwargs = (x, [int(before[piece].sum()) for piece in pieces], dim), {}


def _pad(node: fx.Node, keeps: _Keeps) -> None:
    """Of zeros laid before and after a cut axis, those stay whose channels stay."""
    x, widths = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    kept = keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    rank_from_end = keeps._found.nodes[node.name].dim() - 1 - axis
    if 2 * rank_from_end >= len(widths):
        return
    low, high = widths[2 * rank_from_end], widths[2 * rank_from_end + 1]
    widths[2 * rank_from_end] = int(mask[:low].sum())
    widths[2 * rank_from_end + 1] = int(mask[mask.numel() - high :].sum())
    node.args = (x, widths, *node.args[2:])


def _defaults(node: fx.Node, defaults: tuple[Any, ...]) -> list[Any]:
    names = ("self", "dim", "start", "end", "step")
    given = list(node.args) + list(defaults[len(node.args) :])
    return [node.kwargs.get(name, value) for name, value in zip(names, given, strict=True)]


_REWRITES: dict[Any, Callable[[fx.Node, _Keeps], None]] = {
    **{op: _resize for op in (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.expand.default)},
    **{op: _conv for op in (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)},
    **{op: _conv for op in (aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)},
    **{op: _split for op in (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)},
    aten.slice.Tensor: _slice,
    aten.narrow.default: lambda node, keeps: _narrow(node, keeps),
    aten.select.int: _select,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
}


def _narrow(node: fx.Node, keeps: _Keeps) -> None:
    """`narrow(x, dim, start, length)` is a slice with a length."""
    x, dim, start, length = node.args
    node.target, node.args = aten.slice.Tensor, (x, dim, start, int(start) + int(length), 1)  # type: ignore[arg-type]
    _slice(node, keeps)
