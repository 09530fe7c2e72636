"""How many operations ahead of a layer the nodes of a graph are.

SNOWS (arXiv 2411.18376) counts convolutions, linear layers, attention outputs and nonlinearities; BatchNorm, LayerNorm,
sums and shape operators are passed through. Where branches meet, the longest way counts: what is k operations ahead
then depends only on what is fewer, so all that lies within K can be computed from the layer's output and what came
before, and every branch that is reached within K is there.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import fx

from edgeprune.model.operators import name_of
from edgeprune.model.products import CONTRACTIONS

NONLINEAR = frozenset({
    "relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "elu", "selu", "celu",
    "leaky_relu", "prelu", "mish", "softplus", "softsign", "tanh", "softmax", "_softmax", "glu",
})  # fmt: skip


def is_operation(node: fx.Node) -> bool:
    """Whether a node counts as a step."""
    return name_of(node) in CONTRACTIONS | NONLINEAR


def operations_ahead(graph: fx.Graph, layers: Collection[fx.Node], steps: int | None) -> dict[fx.Node, int]:
    """The operations that depend on some layers' output, the layers among them, and how far ahead each is.

    Args:
        graph: in its order.
        layers: the nodes that read one weight; 0 ahead, or more where one of them depends on another.
        steps: at most so far; None: to the end of the network.
    """
    ahead: dict[fx.Node, int] = {}
    beyond: set[fx.Node] = set()
    for node in graph.nodes:
        if not beyond.isdisjoint(node.all_input_nodes):
            beyond.add(node)
            continue
        before = [source for source in node.all_input_nodes if source in ahead]
        if node.op == "output" or not (before or node in layers):
            continue
        far = max((ahead[source] for source in before), default=-1)
        if node in layers or is_operation(node):
            far += 1
        if steps is not None and far > steps:
            beyond.add(node)
        else:
            ahead[node] = far
    return {node: far for node, far in ahead.items() if node in layers or is_operation(node)}
