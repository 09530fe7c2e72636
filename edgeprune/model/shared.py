"""One name for every parameter: a module that stands in two places of the tree has its parameters under two names."""

from __future__ import annotations

from torch import fx, nn

from edgeprune.model.attributes import attribute


def one_name_each(module: fx.GraphModule) -> fx.GraphModule:
    """Let all readers of a shared parameter read it under its first name, and forget the others, in place.

    Why: labels, cuts and optimisers know a parameter by its name; under two names it would be cut twice.
    """
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    others = {
        name: first[id(value)]
        for name in read
        if isinstance(value := attribute(module, name), nn.Parameter) and first[id(value)] != name
    }
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) in others:
            node.target = others[str(node.target)]
    for name in others:
        owner, _, leaf = name.rpartition(".")
        # Of a shared module both names lead to one owner, which keeps its parameter.
        if module.get_submodule(owner) is not module.get_submodule(others[name].rpartition(".")[0]):
            delattr(module.get_submodule(owner), leaf)
    if others:
        module.recompile()
    return module
