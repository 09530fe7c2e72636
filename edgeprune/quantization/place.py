"""Which tensors get a quantizer, so that the runtime runs INT8 kernels.

A tensor has at most one quantizer and all its readers see the quantized values. Operators that only move
values (`keeps.py`) get none: their scale is their input's, so that the zeros of an option-A shortcut are
exact on codes. Weights get theirs under both runtimes; biases are rounded to the int32 codes that ONNX Runtime
makes of them.

The *residual stream* of a transformer (what linear layers over a sequence write, its sums, moves and means) stays float
under both, as do softmax and LayerNorm: only what linear layers and products read, and the weights, is INT8.
An INT8 sum per layer would round the stream dozens of times and spares no kernel: the matrix product writes floats.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx

from edgeprune.model.operators import convolution_arguments
from edgeprune.quantization.graph import rank
from edgeprune.quantization.keeps import keeps_scale, packet, source

ATEN = torch.ops.aten
Runtime = Literal["onnxruntime", "tensorrt"]
Reads = Literal["all", "first", "residual", "none"]

CONVOLUTIONS = {ATEN.conv1d, ATEN.conv2d, ATEN.conv3d}
TRANSPOSED = {ATEN.conv_transpose1d, ATEN.conv_transpose2d, ATEN.conv_transpose3d}
LAYERS = CONVOLUTIONS | {ATEN.linear}
PRODUCTS = {ATEN.matmul, ATEN.bmm}
SUMS = {ATEN.add, ATEN.mul}
# A Q behind one of these is where the runtime's kernel writes its codes, so nothing may stand between the
# two.
FUSED_ACTIVATIONS = {ATEN.relu, ATEN.relu6, ATEN.hardtanh, ATEN.clamp, ATEN.clamp_min}
POOLINGS = {ATEN.avg_pool2d, ATEN.adaptive_avg_pool2d, ATEN.mean}
TABLES = {ATEN.sigmoid, ATEN.leaky_relu}
WITH_KERNEL = {*SUMS, ATEN.cat, *POOLINGS, *TABLES}
"""Beside layers and products, what ONNX Runtime has integer kernels for."""


@dataclass(frozen=True)
class Rule:
    """Which tensors of some operators get a quantizer: those that they read, and what they write."""

    operators: frozenset[object]
    reads: Reads
    writes: bool
    reason: str


def _rule(operators: Set[object], reads: Reads, writes: bool, reason: str) -> Rule:
    return Rule(frozenset(operators), reads, writes, reason)


RULES: dict[Runtime, tuple[Rule, ...]] = {
    "onnxruntime": (
        _rule(CONVOLUTIONS, "first", True, "QLinearConv exists only with Q behind it, and behind a ReLU it fuses"),
        _rule({ATEN.linear}, "first", True, "QGemm; over a sequence MatMulIntegerToFloat, which writes floats"),
        _rule(PRODUCTS, "all", False, "MatMulIntegerToFloat; the second factor as int8, which VNNI multiplies at once"),
        _rule(SUMS, "all", True, "QLinearAdd and QLinearMul need codes on both inputs and the output"),
        _rule({ATEN.cat}, "all", True, "QLinearConcat; parts that nothing else reads share the output's scale"),
        _rule(POOLINGS, "all", True, "QLinearAveragePool, QLinearGlobalAveragePool"),
        _rule(TABLES, "all", True, "QLinearSigmoid and QLinearLeakyRelu, tables of 256 values"),
        _rule(TRANSPOSED, "none", False, "no integer kernel; in two dimensions spelled as a convolution before"),
        _rule({ATEN.softmax, ATEN.layer_norm}, "none", False, "float: rounding them costs more than they take"),
        _rule({ATEN.gelu, ATEN.hardswish, ATEN.hardsigmoid}, "none", False, "float between DQ and Q: no kernel"),
    ),
    "tensorrt": (
        _rule({*LAYERS, *TRANSPOSED}, "first", False, "the Q is pulled into the kernel that writes the tensor"),
        _rule(PRODUCTS, "all", False, "both factors of an INT8 matrix product are codes"),
        _rule({ATEN.add}, "residual", False, "conv, add and ReLU are one kernel that reads the other term in INT8"),
        _rule({ATEN.cat}, "none", False, "the Q behind it moves onto its parts, with one scale"),
        _rule(POOLINGS, "none", False, "the layer that reads the means has the Q; each Q more is one to honour"),
        _rule({ATEN.mul, *TABLES}, "none", False, "pointwise: fused in float into the kernel before"),
        _rule({ATEN.softmax, ATEN.layer_norm}, "none", False, "float: rounding them costs more than they take"),
        _rule({ATEN.gelu, ATEN.hardswish, ATEN.hardsigmoid}, "none", False, "pointwise: fused in float"),
    ),
}
"""One row per kind of operator, with its reason. Beside them: the network's output has none, since a rounded logit
helps nobody."""


@dataclass(frozen=True)
class Placement:
    """Nodes whose output is quantized per tensor, and stored weights quantized per output channel, with its axis.

    `signed`: those of the activations whose codes are int8 around zero whatever the runtime's usual ones are.
    """

    activations: tuple[fx.Node, ...]
    weights: dict[fx.Node, int]
    signed: frozenset[fx.Node]


def place(graph: fx.Graph, runtime: Runtime, outputs: bool = False) -> Placement:
    """Choose the tensors of a graph whose BatchNorms are folded.

    `outputs`: under TensorRT also what convolutions and linear layers write, as its sparse INT8 kernels need it
    (NVIDIA Model Optimizer, pull request 1664).
    """
    weights = {}
    for node in graph.nodes:
        if is_layer(node, runtime) and _stored(node.args[1]):
            weights[node.args[1]] = 1 if packet(node) in TRANSPOSED else 0
    chosen, signed = _chosen(graph, runtime, outputs), set()
    if runtime == "onnxruntime":
        seconds = {_operand(_tensors(node)[1]) for node in graph.nodes if _is_product(node)}
        signed = {node for node in seconds & chosen if all(_is_product(user) for user in _ends(node))}
    in_order = [node for node in graph.nodes if node in chosen]
    return Placement(tuple(in_order), weights, frozenset(signed))


def is_layer(node: fx.Node, runtime: Runtime) -> bool:
    """A layer that the runtime may run in INT8; the scales of a grouped transposed convolution have no axis."""
    if packet(node) in TRANSPOSED:
        return runtime == "tensorrt" and convolution_arguments(node)[3] == 1
    return packet(node) in LAYERS


def _chosen(graph: fx.Graph, runtime: Runtime, outputs: bool) -> set[fx.Node]:
    rules = {operator: rule for rule in RULES[runtime] for operator in rule.operators}
    chosen: set[fx.Node] = set()
    result, stream = _result(graph), _residual_stream(graph)
    for node in graph.nodes:
        rule = rules.get(packet(node))
        if rule is None or not _applies(node, stream, runtime):
            continue
        chosen.update(_read(node, rule.reads))
        writes = rule.writes or (outputs and is_layer(node, runtime))
        if writes and node not in stream and _end(node) is not result:
            chosen.add(_end(node))
    if runtime == "onnxruntime":
        for node in graph.nodes:
            if packet(node) == ATEN.cat and node in chosen:
                chosen.difference_update(part for part in _tensors(node) if [*part.users] == [node])
    return chosen


def _applies(node: fx.Node, stream: set[fx.Node], runtime: Runtime) -> bool:
    """Whether an operator's rule holds for this node."""
    if packet(node) in LAYERS | TRANSPOSED:
        return is_layer(node, runtime)
    if packet(node) in PRODUCTS:
        return _is_product(node)
    return node not in stream and _has_kernel(node)


def _read(node: fx.Node, reads: Reads) -> set[fx.Node]:
    tensors = _tensors(node)
    if reads == "none":
        return set()
    if reads == "residual":
        residual = _residual(node)
        return set() if residual is None else {source(residual)}
    if packet(node) in PRODUCTS:
        return {_operand(tensor) for tensor in tensors}
    return {source(tensor) for tensor in (tensors[:1] if reads == "first" else tensors)}


def _stored(node: object) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _is_product(node: fx.Node) -> bool:
    """A product of two computed tensors."""
    return packet(node) in PRODUCTS and all(source(factor).op != "get_attr" for factor in _tensors(node))


def _operand(node: fx.Node) -> fx.Node:
    """Where a product's factor is quantized: as far up as it alone is read, so that the moves are of bytes."""
    while keeps_scale(node):
        before = node.args[0]
        assert isinstance(before, fx.Node)
        if len(before.users) > 1:
            break
        node = before
    return node


def _ends(node: fx.Node) -> set[fx.Node]:
    """Who reads a tensor's values, behind whatever moves them."""
    found: set[fx.Node] = set()
    for user in node.users:
        found |= _ends(user) if keeps_scale(user) else {user}
    return found


def _has_kernel(node: fx.Node) -> bool:
    """An operator of the table above on computed tensors only: a stored or plain number has no quantizer."""
    if packet(node) not in WITH_KERNEL:
        return False
    if packet(node) in SUMS:
        both = all(isinstance(arg, fx.Node) and arg.op != "get_attr" for arg in node.args[:2])
        plain = node.target in (ATEN.add.Tensor, ATEN.mul.Tensor) and node.kwargs.get("alpha") in (None, 1)
        return both and plain
    if packet(node) == ATEN.cat:  # a class token beside the patches
        return all(source(part).op != "get_attr" for part in _tensors(node))
    return True


def _residual_stream(graph: fx.Graph) -> set[fx.Node]:
    """Linear layers over a sequence, and the sums, products, moves and means of what they write."""
    stream: set[fx.Node] = set()
    for node in graph.nodes:
        if packet(node) == ATEN.linear:
            over_sequence = (rank(node) or 0) > 2
        else:
            passes_on = packet(node) in WITH_KERNEL or keeps_scale(node)
            over_sequence = passes_on and any(before in stream for before in node.all_input_nodes)
        if over_sequence:
            stream.add(node)
    return stream


def _tensors(node: fx.Node) -> list[fx.Node]:
    """The activations that an operator reads."""
    if packet(node) == ATEN.cat:
        parts = node.args[0]
        assert isinstance(parts, (list, tuple))
        return [part for part in parts if isinstance(part, fx.Node)]
    count = 2 if packet(node) in SUMS | PRODUCTS else 1
    return [arg for arg in node.args[:count] if isinstance(arg, fx.Node)]


def _end(node: fx.Node) -> fx.Node:
    """The tensor that a kernel writes: behind the activation that it fuses."""
    users = [*node.users]
    if len(users) == 1 and packet(users[0]) in FUSED_ACTIVATIONS:
        return users[0]
    return node


def _result(graph: fx.Graph) -> fx.Node:
    """The tensor that the network returns, before operators that only move values."""
    output = graph.output_node().args[0]
    value = output[0] if isinstance(output, (list, tuple)) else output
    assert isinstance(value, fx.Node)
    return source(value)


def _residual(add: fx.Node) -> fx.Node | None:
    """The input of an add that no kernel fuses, if the other one comes straight from a weighted operator."""
    first, second = _tensors(add)
    for fused, other in ((first, second), (second, first)):
        if packet(fused) in LAYERS and len(fused.users) == 1 and not keeps_scale(fused):
            return other
    return None
