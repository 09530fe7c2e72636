"""Attention of other ranks than four, which the exporter writes alone: leading axes are laid on the first and back."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgeprune.model.operators import arguments, name_of, set_argument

aten = torch.ops.aten
RANK = 4


def with_four_axes(module: fx.GraphModule) -> fx.GraphModule:
    """Lay leading axes of attention's operands on the first one, in place; three axes get a head."""
    for node in [n for n in module.graph.nodes if name_of(n) == "scaled_dot_product_attention"]:
        given = arguments(node)
        rank = given["query"].meta["val"].dim()
        mask = given["attn_mask"]
        if rank == RANK or rank < RANK - 1 or (mask is not None and mask.meta["val"].dim() > 2):
            continue
        lead = given["query"].meta["val"].shape[: rank - RANK + 1]
        for name in ("query", "key", "value"):
            with module.graph.inserting_before(node):
                set_argument(node, name, _laid(module.graph, given[name], rank))
        value: Tensor = node.meta["val"]
        readers = list(node.users)
        with module.graph.inserting_after(node):
            back = (
                module.graph.call_function(aten.squeeze.dim, (node, 1))
                if rank < RANK
                else module.graph.call_function(aten.unflatten.int, (node, 0, [-1, *(int(n) for n in lead[1:])]))
            )
        back.meta["val"] = value
        node.replace_all_uses_with(back, delete_user_cb=lambda user, readers=readers: user in readers)
    module.graph.lint()
    module.recompile()
    return module


def _laid(graph: fx.Graph, operand: fx.Node, rank: int) -> fx.Node:
    if rank < RANK:
        return graph.call_function(aten.unsqueeze.default, (operand, 1))
    return graph.call_function(aten.flatten.using_ints, (operand, 0, rank - RANK))
