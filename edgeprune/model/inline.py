"""Put the bodies of `no_grad` and disabled-autocast regions back into the graph that calls them.

The exporter wraps such a region in a higher-order operator with a graph of its own. Neither changes what a float32
network computes, and one flat graph is what every step reads.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeprune.errors import EdgepruneError
from edgeprune.model.attributes import free_name

_REGIONS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
"""Name of the operator -> position of the body among its arguments; the body's inputs follow."""


def inline_regions(module: fx.GraphModule) -> fx.GraphModule:
    """Inline every region, in place.

    Raises:
        EdgepruneError: a region computes in another precision.
    """
    graph = module.graph
    open_ = True
    while open_:
        calls = [node for node in graph.nodes if getattr(node.target, "_name", None) in _REGIONS]
        for call in calls:
            _inline(module, call)
        open_ = bool(calls)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    return module


def _inline(module: fx.GraphModule, call: fx.Node) -> None:
    name = str(getattr(call.target, "_name", ""))
    if name == "wrap_with_autocast" and call.args[2]:
        raise EdgepruneError(
            "the model casts to another precision by itself (torch.autocast inside forward). Take that out."
        )
    body, inputs = call.args[_REGIONS[name]], call.args[_REGIONS[name] + 1 :]
    assert isinstance(body, fx.Node)
    inner = module.get_submodule(str(body.target))
    assert isinstance(inner, fx.GraphModule)
    given = iter(inputs)
    with module.graph.inserting_before(call):
        values: dict[fx.Node, fx.Node] = {}
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)  # type: ignore[assignment]
            elif node.op == "output":
                result = fx.map_arg(node.args[0], lambda n: values[n])
            elif node.op == "get_attr":
                values[node] = module.graph.get_attr(_lift(module, inner, str(node.target)))
            else:
                values[node] = module.graph.node_copy(node, lambda n: values[n])
    _replace(call, result)


def _lift(module: fx.GraphModule, inner: fx.GraphModule, name: str) -> str:
    """Give a region's own tensor to the outer module."""
    value = inner
    for part in name.split("."):
        value = getattr(value, part)
    lifted = free_name(module, name.replace(".", "_"))
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        module.register_buffer(lifted, value)
    else:
        setattr(module, lifted, value)
    return lifted


def _replace(call: fx.Node, result: object) -> None:
    """Let the readers of a region read what its body returns: one value, or a tuple taken apart."""
    if isinstance(result, fx.Node):
        call.replace_all_uses_with(result)
    else:
        assert isinstance(result, (list, tuple))
        for reader in list(call.users):
            reader.replace_all_uses_with(result[int(reader.args[1])])  # type: ignore[arg-type]
            reader.graph.erase_node(reader)
    call.graph.erase_node(call)
