"""Take out what is left of a branch whose channels are all cut: its output is a constant, often zero."""

from __future__ import annotations

import operator
from collections.abc import Collection

import torch
from torch import Tensor, fx

from edgeprune.compact.keeps import Keeps
from edgeprune.errors import EdgepruneError
from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.branches import CONTRACTIONS, JOINS, sees_the_image
from edgeprune.model.constants import drop_unread
from edgeprune.model.operators import arguments, name_of, set_argument

aten = torch.ops.aten

_PER_CHANNEL = frozenset({
    "batch_norm", "relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "elu",
    "leaky_relu", "mish", "tanh", "dropout", "mul", "div", "clone", "contiguous",
})  # fmt: skip
"""Operators that a constant passes without its space, on the way to where it is added."""
_SUMS = frozenset({"add", "sub"})


def take_out_empty(module: fx.GraphModule, keeps: Keeps) -> None:
    """Replace what reads empty tensors, in place: a layer by its bias, a concatenation by one with fewer pieces.

    Raises:
        EdgepruneError: something else reads one.
    """
    empty = _empty(module.graph, keeps)
    if not empty:
        return
    for node in [n for n in module.graph.nodes if n not in empty]:
        if name_of(node) in JOINS and not empty.isdisjoint(node.all_input_nodes):
            set_argument(node, "tensors", [piece for piece in arguments(node)["tensors"] if piece not in empty])
        elif node.args and node.args[0] in empty and name_of(node) in CONTRACTIONS:
            node.replace_all_uses_with(_bias_of(module, node, keeps))
            module.graph.erase_node(node)
        elif node.op == "call_function" and name_of(node) != "sym_size" and not empty.isdisjoint(node.all_input_nodes):
            raise EdgepruneError(f"{node.name} reads channels of which none is left")
    for node in reversed([n for n in module.graph.nodes if n in empty]):
        if not node.users:  # attention counts as random to the elimination of dead code
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    if not sees_the_image(module.graph):
        raise EdgepruneError("nothing of the network is left that looks at the image")
    drop_unread(module, {name for name, tensor in _tensors(module) if tensor.numel() == 0})


def _tensors(module: fx.GraphModule) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def drop_zero_terms(module: fx.GraphModule, own: Collection[str]) -> None:
    """Remove additions of zeros, in place; those that are the network's `own` (names of its tensors) stay."""
    for node in list(module.graph.nodes):
        if name_of(node) not in _SUMS or arguments(node).get("alpha", 1) != 1:
            continue
        left, right = node.args[:2]
        for term, other in ((right, left), (left, right)) if name_of(node) == "add" else ((right, left),):
            if not isinstance(term, fx.Node) or term.op != "get_attr" or str(term.target) in own:
                continue
            if not isinstance(other, fx.Node) or "val" not in other.meta:
                continue
            zeros = not bool(attribute(module, str(term.target)).any())
            if zeros and other.meta["val"].shape == node.meta["val"].shape:
                node.replace_all_uses_with(other)
                module.graph.erase_node(node)
                break
    module.graph.eliminate_dead_code()
    module.recompile()


def _empty(graph: fx.Graph, keeps: Keeps) -> set[fx.Node]:
    """Nodes of which no channel is left, and those that take such a one apart."""
    empty: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        kept = keeps.of(node)
        pieces = not keeps.knows(node) and bool(node.args) and node.args[0] in empty
        if pieces or (kept is not None and not bool(kept[1].any())):
            empty.add(node)
    return empty


def _bias_of(module: fx.GraphModule, layer: fx.Node, keeps: Keeps) -> fx.Node:
    """What a layer without inputs puts out: its bias at every place, zeros if it has none."""
    given, rank = arguments(layer), keeps.rank(layer)
    axis = rank - 1 if name_of(layer) == "linear" else 1
    count = attribute(module, str(given["weight"].target)).shape[0]
    with module.graph.inserting_before(layer):
        bias = given["bias"]
        if bias is None:
            like = attribute(module, str(given["weight"].target))
            name = free_name(module, f"{str(given['weight'].target).rpartition('.')[0]}.nothing".lstrip("."))
            set_attribute(module, name, torch.zeros(count, dtype=like.dtype, device=like.device))
            bias = module.graph.get_attr(name)
        shape = [1] * rank
        shape[axis] = count
        constant: fx.Node = module.graph.call_function(aten.view.default, (bias, shape))
        if _only_added(layer):
            return constant
        images = next(node for node in module.graph.nodes if node.op == "placeholder")
        sizes: list[int | fx.Node] = [*keeps.shape(layer)]
        sizes[axis] = count
        # Windows or heads may lie on the batch axis, as many as it is long for one image.
        batch = module.graph.call_function(aten.sym_size.int, (images, 0))
        per_image = keeps.shape(layer)[0]
        sizes[0] = module.graph.call_function(operator.mul, (batch, per_image)) if per_image > 1 else batch
        return module.graph.call_function(aten.expand.default, (constant, sizes))


def _only_added(node: fx.Node) -> bool:
    """Whether a tensor goes through operators per channel only, into sums with something of full shape."""
    for reader in node.users:
        others = [source for source in reader.all_input_nodes if source is not node and source.op != "get_attr"]
        if name_of(reader) in _SUMS and others:
            continue
        if name_of(reader) not in _PER_CHANNEL or others or not _only_added(reader):
            return False
    return bool(node.users)
