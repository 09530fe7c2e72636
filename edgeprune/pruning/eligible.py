"""Which layers a mask pattern may take, and why the others stay dense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

from torch import Tensor, fx

from edgeprune.errors import EdgepruneError
from edgeprune.model.count import Layer, layers
from edgeprune.model.operators import convolution_arguments, name_of
from edgeprune.model.traced import Traced
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.target import Target

TENSORRT_INPUTS, TENSORRT_OUTPUTS = 16, 8
"""Multiples that input and output channels must be for a sparse kernel; NVIDIA's ASP and Model Optimizer ask them."""
GAINS_ABOVE = 256
"""Channels on either side beyond which a sparse convolution is faster than the dense one (NVIDIA, TensorRT issue 3849:
"if C and K are large enough")."""


@dataclass(frozen=True)
class Eligible:
    """`weights`: what the pattern takes, in graph order. `reasons`: weight -> why it stays dense.

    `narrow`: those of `weights` that are too narrow for a sparse kernel to gain anything.
    """

    weights: tuple[str, ...]
    reasons: dict[str, str]
    narrow: tuple[str, ...]


def eligible(traced: Traced, pattern: Pattern, target: Target | None, keep: tuple[str, ...]) -> Eligible:
    """Go through the convolutions and linear layers of a network. Without a target only the shapes decide.

    The layers that read the image and that give the class scores stay dense under every pattern: they hold few of the
    multiply-adds, every output depends on each of their weights, and SNOWS (arXiv:2411.18376) leaves both alone.

    Raises:
        EdgepruneError: a `keep` pattern matches no layer, or nothing is left to prune.
    """
    parameters = dict(traced.module.named_parameters())
    found = [layer for layer in layers(traced) if layer.weight in parameters]
    _check_keep(found, keep)
    nodes = {node.name: node for node in traced.module.graph.nodes}
    first, last = _reading_image(traced.module.graph, found), _giving_scores(traced.module.graph, found)
    reasons: dict[str, str] = {}
    for layer in found:
        node, weight = nodes[layer.node], parameters[layer.weight]
        against = chain(_by_place(layer, weight, keep, first, last), _by_shape(node, weight, pattern, target))
        why = next(against, None)
        if why is not None:
            reasons[layer.weight] = why
    weights = tuple(dict.fromkeys(layer.weight for layer in found if layer.weight not in reasons))
    if not weights:
        listed = "; ".join(f"{name.removesuffix('.weight')}: {why}" for name, why in list(reasons.items())[:3])
        raise EdgepruneError(f"no layer of this network can be pruned {pattern} ({listed}). Choose another pattern.")
    narrow = tuple(name for name in weights if min(parameters[name].shape[:2]) <= GAINS_ABOVE)
    return Eligible(weights, reasons, narrow if _sparse_kernels(pattern, target) else ())


def _by_place(layer: Layer, weight: Tensor, keep: tuple[str, ...], first: set[str], last: set[str]) -> Iterator[str]:
    """The reasons against a layer because of what it is in the network."""
    owner = layer.weight.rpartition(".")[0]
    yield from (f"--keep {rule!r}" for rule in keep if fnmatchcase(owner, rule))
    if layer.node in first:
        yield f"it reads the image ({weight.shape[1]} input channels)"
    if layer.node in last:
        yield "it gives the class scores"


def _by_shape(node: fx.Node, weight: Tensor, pattern: Pattern, target: Target | None) -> Iterator[str]:
    """The reasons against a layer because its weight does not divide into the pattern, or fit the target's kernels."""
    if name_of(node) != "linear" and not name_of(node).startswith("conv"):
        yield "its product with the weight is written out, without a linear layer"
    if "transpose" in name_of(node):
        yield "a transposed convolution"
    outputs, inputs = weight.shape[:2]
    per_group = " per group" if _grouped(node) else ""
    its_inputs = f"its one input{per_group} is" if inputs == 1 else f"its {inputs} inputs{per_group} are"
    if pattern.kind == "blocks" and outputs % pattern.rows:
        yield f"its {outputs} outputs are no multiple of {pattern.rows}"
    if pattern.kind == "n:m" and inputs % pattern.group:
        yield f"{its_inputs} no multiple of {pattern.group}"
    if _sparse_kernels(pattern, target) and inputs % TENSORRT_INPUTS:
        yield f"{its_inputs} no multiple of {TENSORRT_INPUTS}, which sparse kernels of TensorRT need"
    if _sparse_kernels(pattern, target) and outputs % TENSORRT_OUTPUTS:
        yield f"its {outputs} outputs are no multiple of {TENSORRT_OUTPUTS}, which sparse kernels of TensorRT need"


def _sparse_kernels(pattern: Pattern, target: Target | None) -> bool:
    """Whether the target has kernels for this very pattern."""
    sparse = target.sparsity if target is not None and target.runtime == "tensorrt" else None
    return sparse is not None and sparse.value == str(pattern)


def _grouped(node: fx.Node) -> bool:
    """Whether the layer is a convolution of more groups than one."""
    return name_of(node).startswith("conv") and convolution_arguments(node)[3] > 1


def _reading_image(graph: fx.Graph, found: list[Layer]) -> set[str]:
    """Layers whose input no other layer has worked on."""
    own = {layer.node for layer in found}
    raw: set[fx.Node] = set()
    for node in graph.nodes:
        worked = [before for before in node.all_input_nodes if before.op != "get_attr"]
        if node.op == "placeholder" or (node.name not in own and worked and all(n in raw for n in worked)):
            raw.add(node)
    return {node.name for node in graph.nodes if node.name in own and node.args[0] in raw}


def _giving_scores(graph: fx.Graph, found: list[Layer]) -> set[str]:
    """The layer that the network's output comes from, through operators of one input."""
    own = {layer.node for layer in found}
    node: fx.Node = graph.output_node()
    while node.name not in own:
        before = [n for n in node.all_input_nodes if n.op not in ("get_attr", "placeholder")]
        if len(before) != 1:
            return set()
        node = before[0]
    return {node.name}


def _check_keep(found: list[Layer], keep: tuple[str, ...]) -> None:
    owners = {layer.weight.rpartition(".")[0]: None for layer in found}
    for rule in keep:
        if not any(fnmatchcase(owner, rule) for owner in owners):
            raise EdgepruneError(f"--keep {rule!r} matches no layer. The layers: {', '.join(owners)}.")
