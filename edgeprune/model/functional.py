"""Rewrite in-place operators of an exported graph (`relu_`, `add_`) to their functional twins, and views to reshapes.

Why: label flow, masking and quantizer placement all read "the value of a node"; with in-place operators a node's
value depends on when one looks.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeprune.errors import EdgepruneError
from edgeprune.model.operators import VIEWS, name_of

VIEWS_OF_STRIDES = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)


def functionalise(module: fx.GraphModule) -> fx.GraphModule:
    """Replace every in-place ATen call, in place; later readers of the mutated tensor read the new node.

    Raises:
        EdgepruneError: a view of a tensor is written to, which has no functional twin of one node.
    """
    graph = module.graph
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        twin = _functional_twin(node)
        if twin is None:
            continue
        mutated = node.args[0]
        assert isinstance(mutated, fx.Node)
        if _aliases_read_later(mutated, node, order):
            where = (node.meta.get("stack_trace") or "").strip().splitlines()[-1:] or [node.name]
            raise EdgepruneError(
                f"the model writes into a view of a tensor ({where[0].strip()}). Use an out-of-place operator there."
            )
        node.target = twin
        later = [user for user in mutated.users if user is not node and order[user] > order[node]]
        for user in later:
            user.replace_input_with(mutated, node)
    _drop_idle_casts(graph)
    _free_of_layout(graph)
    graph.lint()
    module.recompile()
    return module


def _free_of_layout(graph: fx.Graph) -> None:
    """Turn views into reshapes: a view counts on the strides of what it reads, which quantizers and devices change."""
    for node in graph.nodes:
        if node.target in VIEWS_OF_STRIDES:
            node.target = torch.ops.aten.reshape.default


def _drop_idle_casts(graph: fx.Graph) -> None:
    """Remove casts to the type that a tensor has: they would pin float32 where the graph runs in float64."""
    for node in list(graph.nodes):
        if name_of(node) == "_assert_tensor_metadata":  # what the exporter lays before a cast
            graph.erase_node(node)
            continue
        if name_of(node) not in {"to", "_to_copy"} or not isinstance(node.args[0], fx.Node):
            continue
        before, after = node.args[0].meta.get("val"), node.meta.get("val")
        if isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor) and before.dtype == after.dtype:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _aliases_read_later(mutated: fx.Node, writer: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether memory that is written to is read afterwards under another name: a view's base, or its other views."""
    base = mutated
    while name_of(base) in VIEWS and isinstance(base.args[0], fx.Node):
        base = base.args[0]
    aliases, open_ = {base}, [base]
    while open_:
        views = [user for user in open_.pop().users if name_of(user) in VIEWS and order[user] < order[writer]]
        open_ += [view for view in views if view not in aliases]
        aliases.update(views)
    aliases.discard(mutated)
    return any(order[user] > order[writer] for alias in aliases for user in alias.users)


def _functional_twin(node: fx.Node) -> torch._ops.OpOverload | None:
    name = name_of(node)
    if not name.endswith("_") or name.endswith("__") or name.startswith("_"):
        return None
    assert isinstance(node.target, torch._ops.OpOverload)
    packet = getattr(torch.ops.aten, name[:-1], None)
    return getattr(packet, node.target._overloadname, None) if packet is not None else None
