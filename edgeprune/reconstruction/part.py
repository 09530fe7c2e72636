"""Parts of a graph as modules of their own; what they read from the rest becomes their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx


@dataclass(frozen=True)
class Part:
    """`module(*given, *inputs)` returns a tuple. `inputs`: names of the nodes whose values it takes."""

    module: fx.GraphModule
    inputs: tuple[str, ...]

    def __call__(self, given: Sequence[Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self.module(*given, *inputs)
        return found


def part(
    module: fx.GraphModule, nodes: Sequence[fx.Node], outputs: Sequence[fx.Node], given: Sequence[str] = ()
) -> Part:
    """Take nodes out of a graph.

    Parameters and buffers are those of the module itself: changing them there changes the part.

    Args:
        module: the whole.
        nodes: those of the part, in graph order.
        outputs: of these, the ones whose values are returned.
        given: parameters that come as arguments, before the inputs.
    """
    graph = fx.Graph()
    arguments = {name: graph.placeholder(f"given_{place}") for place, name in enumerate(given)}
    inside = set(nodes)
    read = [source for node in nodes for source in node.all_input_nodes]
    inputs = [*dict.fromkeys(source for source in read if source not in inside and source.op != "get_attr")]
    known = {source: graph.placeholder(source.name) for source in inputs}
    for source in dict.fromkeys(source for source in read if source.op == "get_attr"):
        name = str(source.target)
        known[source] = arguments[name] if name in arguments else graph.create_node("get_attr", name)
    for node in nodes:
        known[node] = graph.node_copy(node, known.__getitem__)
    graph.output(tuple(known[node] for node in outputs))
    return Part(fx.GraphModule(module, graph), tuple(source.name for source in inputs))


def needed(outputs: Sequence[fx.Node], among: Sequence[fx.Node]) -> list[fx.Node]:
    """Those of the nodes, in their order, that the outputs depend on, the outputs included."""
    wanted = set(outputs)
    found = []
    for node in reversed(among):
        if node in wanted:
            found.append(node)
            wanted.update(node.all_input_nodes)
    return found[::-1]
