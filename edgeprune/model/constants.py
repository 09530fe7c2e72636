"""Fold what a graph computes from its parameters alone: standardised kernels, position tables, index arithmetic.

Such a part yields the same tensor for every image. Folded, a standardised kernel is a kernel and a bias looked up in a
table is a bias, so that both are cut like any other; training goes on from the folded tensor. Why it is exact: the
network is in evaluation mode, and nothing of the part depends on the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.operators import name_of

_MOST_ELEMENTS = 1 << 26
"""A part that would blow up to a larger tensor (256 MB in float32) stays in the graph."""


def fold_constants(module: fx.GraphModule) -> fx.GraphModule:
    """Replace every maximal input-independent part by one parameter (or buffer, if nothing in it is trained), in place.

    A part that is made of one parameter and has its shape takes its name.
    """
    values = _constant_values(module)
    roots = [node for node in values if node.op != "get_attr" and any(user not in values for user in node.users)]
    sources = {node: _sources(node) for node in roots}
    names: set[str] = set()
    for node in roots:
        value, name = values[node].clone(), _name_for(module, node, values[node].shape, sources[node])
        names.add(name)
        trained = any(isinstance(attribute(module, source), nn.Parameter) for source in sources[node])
        set_attribute(module, name, nn.Parameter(value) if trained and value.is_floating_point() else value)
        with module.graph.inserting_before(node):
            folded = module.graph.get_attr(name)
        folded.meta = {key: node.meta[key] for key in ("val", "tensor_meta") if key in node.meta}
        node.replace_all_uses_with(folded)
    module.graph.eliminate_dead_code()
    _drop_unread(module, {source for node in roots for source in sources[node]} - names)
    _give_each_its_own(module)
    module.graph.lint()
    module.recompile()
    return module


def _give_each_its_own(module: fx.GraphModule) -> None:
    """Copy a buffer for every reader: blocks that look at one position table need not be cut alike for it."""
    trained = {name for name, _ in module.named_parameters()}
    for node in [n for n in module.graph.nodes if n.op == "get_attr" and str(n.target) not in trained]:
        value = attribute(module, str(node.target))
        for reader in list(node.users)[1:] if value.is_floating_point() and value.numel() > 1 else ():
            name = free_name(module, str(node.target))
            set_attribute(module, name, value.clone())
            with module.graph.inserting_before(reader):
                own = module.graph.get_attr(name)
            own.meta = dict(node.meta)
            reader.replace_input_with(node, own)


def _constant_values(module: fx.GraphModule) -> dict[fx.Node, Tensor]:
    """Values of the nodes that depend on no input and no chance; lists and numbers are left in the graph."""
    values: dict[fx.Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            values[node] = attribute(module, str(node.target)).detach()
        elif node.op == "call_function" and all(source in values for source in node.all_input_nodes):
            target = node.target
            if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in target.tags:
                continue
            if target._schema.is_mutable or not name_of(node):
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            with torch.no_grad():
                value = target(*args, **kwargs)
            if isinstance(value, Tensor) and value.numel() <= _MOST_ELEMENTS:
                values[node] = value
    return values


def _sources(node: fx.Node) -> list[str]:
    """Names of the parameters and buffers that a node is computed from."""
    open_, seen = [node], {node}
    while open_:
        above = [source for source in open_.pop().all_input_nodes if source not in seen]
        seen.update(above)
        open_ += above
    return [str(n.target) for n in node.graph.nodes if n in seen and n.op == "get_attr"]


def _name_for(module: fx.GraphModule, node: fx.Node, shape: torch.Size, sources: list[str]) -> str:
    readers = {name: [n for n in module.graph.nodes if n.op == "get_attr" and n.target == name] for name in sources}
    for name in sources:
        single = sum(len(reader.users) for reader in readers[name]) == 1
        if single and attribute(module, name).shape == shape and _only_into(readers[name][0], node):
            return name
    return free_name(module, f"{sources[0]}_folded" if sources else f"{node.name}_folded")


def _only_into(source: fx.Node, sink: fx.Node) -> bool:
    """Whether all that is computed from a node goes into one other node."""
    open_, seen = [source], {source}
    while open_:
        node = open_.pop()
        if node is sink:
            continue
        if not node.users or any(user.op == "output" for user in node.users):
            return False
        fresh = [user for user in node.users if user not in seen]
        seen.update(fresh)
        open_ += fresh
    return True


def _drop_unread(module: fx.GraphModule, names: set[str]) -> None:
    """Remove those of the named parameters and buffers that nothing reads any more."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in names - read:
        owner, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(owner), leaf)
