"""Fold what a graph computes from its parameters alone: standardised kernels, position tables, index arithmetic.

Such a part yields the same tensor for every image. Folded, a standardised kernel is a kernel and a bias looked up in a
table is a bias, so that both are cut like any other; training goes on from the folded tensor. Why it is exact: the
network is in evaluation mode, and nothing of the part depends on the input.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.operators import VIEWS, name_of

_CREATORS = {"new_zeros", "new_ones", "new_full"}
_MOST_ELEMENTS = 1 << 26
"""A part that would blow up to a larger tensor (256 MB in float32) stays in the graph."""


def fold_constants(module: fx.GraphModule, parameters: bool = True) -> fx.GraphModule:
    """Replace every maximal input-independent part by one parameter (or buffer, if nothing in it is trained), in place.

    A part that is made of one parameter and has its shape takes its name. `parameters=False` leaves the parts alone
    that read a parameter, so that weights can still be filled in by name.
    """
    values = _constant_values(module, parameters)
    open_ends = [
        n
        for n, value in values.items()
        if n.op != "get_attr" and isinstance(value, Tensor) and any(user not in values for user in n.users)
    ]
    sources = {node: _sources(node, values) for node in open_ends}
    roots = [node for node in open_ends if not _is_tied(module, node, sources[node])]
    names: set[str] = set()
    for node in roots:
        value, name = values[node].clone(), _name_for(module, node, values[node].shape, sources[node])
        names.add(name)
        stored = [attribute(module, source) for source in sources[node]]
        if value.is_floating_point() and any(isinstance(tensor, nn.Parameter) for tensor in stored):
            value = nn.Parameter(value, requires_grad=any(tensor.requires_grad for tensor in stored))
        set_attribute(module, name, value)
        with module.graph.inserting_before(node):
            folded = module.graph.get_attr(name)
        folded.meta = {key: node.meta[key] for key in ("val", "tensor_meta") if key in node.meta}
        node.replace_all_uses_with(folded, delete_user_cb=lambda user: user not in values)
    needed = _upstream([n for n in open_ends if n not in roots], values)
    for node in reversed([n for n in values if n.op != "get_attr"]):
        # No elimination of dead code would take what writes in place.
        if not node.users and not (_writes(node) and _base(node) in needed):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    drop_unread(module, {source for node in roots for source in sources[node]} - names)
    _give_each_its_own(module)
    module.graph.lint()
    module.recompile()
    return module


def _give_each_its_own(module: fx.GraphModule) -> None:
    """Copy a buffer for every reader: blocks that look at one position table need not be cut alike for it."""
    trained = {name for name, _ in module.named_parameters()}
    for node in [n for n in module.graph.nodes if n.op == "get_attr" and str(n.target) not in trained]:
        value = attribute(module, str(node.target))
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() == 1:
            continue
        for reader in [user for user in node.users if name_of(user) != "batch_norm"][1:]:
            name = free_name(module, str(node.target))
            set_attribute(module, name, value.clone())
            with module.graph.inserting_before(reader):
                own = module.graph.get_attr(name)
            own.meta = dict(node.meta)
            reader.replace_input_with(node, own)


def _constant_values(module: fx.GraphModule, parameters: bool) -> dict[fx.Node, Any]:
    """Values of the nodes that depend on no input and no chance: tensors, and lists of them on the way to tensors.

    They are computed in the graph's order on shared memory, so that writes in place reach all that look at it.
    """
    values: dict[fx.Node, Any] = {}
    trained = {name for name, _ in module.named_parameters()}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            stored = attribute(module, str(node.target))
            if isinstance(stored, Tensor) and (parameters or str(node.target) not in trained):
                values[node] = stored.detach()
        elif node.op == "call_function" and _is_fixed(node, values):
            value = _compute(node, values)
            parts = value if isinstance(value, (list, tuple)) else [value]
            if all(isinstance(part, Tensor) and part.numel() <= _MOST_ELEMENTS for part in parts):
                values[node] = value
    return values


def _is_fixed(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    target = node.target
    if target is operator.getitem:
        return node.args[0] in values
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in target.tags:
        return False
    if name_of(node) in _CREATORS:  # they only ask their first argument for its type
        return not any(isinstance(part, fx.Node) for part in tree_leaves((node.args[1:], node.kwargs)))
    written = node.args[0] if target._schema.is_mutable and node.args else None
    writes_to_stored = isinstance(written, fx.Node) and written.op == "get_attr"
    return not writes_to_stored and all(source in values for source in node.all_input_nodes)


def _compute(node: fx.Node, values: dict[fx.Node, Any]) -> object:
    assert callable(node.target)
    with torch.no_grad():
        if name_of(node) in _CREATORS and node.args[0] not in values:
            like = node.meta["val"]
            stand_in = torch.empty(0, dtype=like.dtype)
            return node.target(stand_in, *node.args[1:], **node.kwargs)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
        return node.target(*args, **kwargs)


def _sources(node: fx.Node, values: dict[fx.Node, Any]) -> list[str]:
    """Names of the parameters and buffers that a constant is computed from."""
    seen = _upstream([node], values)
    return [str(n.target) for n in node.graph.nodes if n in seen and n.op == "get_attr"]


def _name_for(module: fx.GraphModule, node: fx.Node, shape: torch.Size, sources: list[str]) -> str:
    for name in sources:
        readers = [n for n in module.graph.nodes if n.op == "get_attr" and n.target == name]
        if attribute(module, name).shape == shape and all(_only_into(reader, node) for reader in readers):
            return name
    return free_name(module, f"{sources[0]}_folded" if sources else f"{node.name}_folded")


def _upstream(nodes: list[fx.Node], values: dict[fx.Node, Any]) -> set[fx.Node]:
    """Constants, and all the constants that they are computed from."""
    open_, seen = list(nodes), set(nodes)
    while open_:
        above = [source for source in open_.pop().all_input_nodes if source in values and source not in seen]
        seen.update(above)
        open_ += above
    return seen


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _base(node: fx.Node) -> fx.Node:
    """The tensor whose memory an operator writes to, where it does so through views."""
    while (_writes(node) or name_of(node) in VIEWS) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _is_tied(module: fx.GraphModule, node: fx.Node, sources: list[str]) -> bool:
    """Whether a parameter of a part is also read elsewhere: folding would make two of what is trained as one."""
    shared = {name for name in sources if isinstance(attribute(module, name), nn.Parameter)}
    readers = [n for n in module.graph.nodes if n.op == "get_attr" and n.target in shared]
    return not all(_only_into(reader, node) for reader in readers)


def _only_into(source: fx.Node, sink: fx.Node) -> bool:
    """Whether all that is computed from a node goes into one other node."""
    open_, seen = [source], {source}
    while open_:
        node = open_.pop()
        if node is sink:
            continue
        if (not node.users and not _writes(node)) or any(user.op == "output" for user in node.users):
            return False
        fresh = [user for user in node.users if user not in seen]
        seen.update(fresh)
        open_ += fresh
    return True


def drop_unread(module: fx.GraphModule, names: set[str]) -> None:
    """Remove those of the named parameters and buffers that nothing reads any more."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in names - read:
        owner, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(owner), leaf)
