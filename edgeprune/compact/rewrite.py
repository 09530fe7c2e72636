"""Cut channels out of an exported graph: parameters, buffers, and every constant that speaks of a width."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute, set_attribute
from edgeprune.model.labels import FROZEN
from edgeprune.model.operators import arguments, name_of, set_argument
from edgeprune.model.provenance import Provenance

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


class Keeps:
    """Kept masks of a graph's nodes under given cuts."""

    def __init__(self, found: Provenance, units: frozenset[int]) -> None:
        self._found, self._units = found, units

    def of(self, node: fx.Node) -> tuple[int, Tensor] | None:
        if node.op == "get_attr":
            return self._of_parameter(str(node.target))
        labels = self._found.nodes.get(node.name)
        return None if labels is None else kept_axis(labels, self._found.shapes[node.name], self._units)

    def along(self, node: Any, axis: int) -> Tensor | None:
        """The kept mask along one axis, if that is the axis that is cut."""
        found = self.of(node) if isinstance(node, fx.Node) else None
        if found is None:
            return None
        return found[1] if found[0] == axis % self.rank(node) else None

    def rank(self, node: fx.Node) -> int:
        return len(self._found.shapes[node.name])

    def _of_parameter(self, name: str) -> tuple[int, Tensor] | None:
        gone = torch.tensor(sorted(self._units), dtype=torch.int64)
        for axis, labels in self._found.axes.get(name, {}).items():
            mask = ~torch.isin(labels, gone)
            if not bool(mask.all()):
                return axis, mask
        return None


def cut(module: fx.GraphModule, found: Provenance, units: frozenset[int]) -> fx.GraphModule:
    """Return a copy of the graph without the given units. Its node names stay; export it again before use."""
    thin = copy.deepcopy(module)
    slice_parameters(thin, found, units)
    keeps = Keeps(found, units)
    for node in list(thin.graph.nodes):
        rewrite = _REWRITES.get(name_of(node))
        if rewrite is not None:
            rewrite(node, keeps)
    thin.graph.lint()
    thin.recompile()
    return thin


def slice_parameters(module: nn.Module, found: Provenance, units: frozenset[int]) -> None:
    """Cut parameters and buffers along their bound axes, in place."""
    gone = torch.tensor(sorted(units), dtype=torch.int64)
    for name, bound in found.axes.items():
        whole = attribute(module, name)
        tensor = whole
        for axis, labels in bound.items():
            mask = ~torch.isin(labels, gone)
            if not bool(mask.all()):
                tensor = tensor.detach().index_select(axis, mask.nonzero().flatten().to(tensor.device))
        if tensor is not whole:
            tensor = tensor.contiguous()
            set_attribute(module, name, nn.Parameter(tensor) if isinstance(whole, nn.Parameter) else tensor)


def _resize(node: fx.Node, keeps: Keeps) -> None:
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


def _unflatten(node: fx.Node, keeps: Keeps) -> None:
    given, kept = arguments(node), keeps.of(node)
    if kept is None:
        return
    axis, mask = kept
    sizes = list(given["sizes"])
    position = axis - given["dim"] % (keeps.rank(node) - len(sizes) + 1)
    if 0 <= position < len(sizes) and sizes[position] != -1:
        sizes[position] = int(mask.sum())
        set_argument(node, "sizes", sizes)


def _groups(argument: str) -> Callable[[fx.Node, Keeps], None]:
    """Groups that go whole leave fewer groups; where each lost the same positions, there are as many as before."""

    def rewrite(node: fx.Node, keeps: Keeps) -> None:
        groups = arguments(node)[argument]
        mask = keeps.along(node.args[0], 1)
        if groups > 1 and mask is not None:
            set_argument(node, argument, int(mask.view(groups, -1).any(1).sum()))

    return rewrite


def _layer_norm(node: fx.Node, keeps: Keeps) -> None:
    kept = keeps.of(node)
    shape = list(arguments(node)["normalized_shape"])
    position = kept[0] - (keeps.rank(node) - len(shape)) if kept else -1
    if kept is not None and position >= 0:
        shape[position] = int(kept[1].sum())
        set_argument(node, "normalized_shape", shape)


def _attention(node: fx.Node, keeps: Keeps) -> None:
    """The default scale follows from the dims of a head; it stays that of the whole head."""
    query = node.args[0]
    assert isinstance(query, fx.Node)
    mask = keeps.along(query, -1)
    if mask is not None and arguments(node)["scale"] is None:
        set_argument(node, "scale", mask.numel() ** -0.5)


def _slice(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    _take_range(node, given["self"], given["dim"], slice(given["start"], given["end"], given["step"]), keeps)


def _narrow(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    if isinstance(given["start"], int) and isinstance(given["length"], int):
        taken = slice(given["start"], given["start"] + given["length"], 1)
        _take_range(node, given.get("self", given.get("input")), given["dim"], taken, keeps)


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


def _index_select(node: fx.Node, keeps: Keeps) -> None:
    given = arguments(node)
    _pick(node, given["self"], given["dim"], given["index"], keeps)


def _index_tensor(node: fx.Node, keeps: Keeps) -> None:
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


def _select(node: fx.Node, keeps: Keeps) -> None:
    x, dim, index = node.args
    before = keeps.along(x, dim)  # type: ignore[arg-type]
    if before is not None:
        place = int(index) % before.numel()  # type: ignore[arg-type]
        node.update_arg(2, int(before[:place].sum()))


def _split(node: fx.Node, keeps: Keeps) -> None:
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


def _pad(node: fx.Node, keeps: Keeps) -> None:
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


_REWRITES: dict[str, Callable[[fx.Node, Keeps], None]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "expand"), _resize),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk"), _split),
    **dict.fromkeys((f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3)), _groups("groups")),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _groups("num_groups"),
    "channel_shuffle": _groups("groups"),
    "scaled_dot_product_attention": _attention,
    "unflatten": _unflatten,
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    "index_select": _index_select,
    "index": _index_tensor,
    "pad": _pad,
    "constant_pad_nd": _pad,
}
"""By operator name."""
