"""Which tensors get a quantizer, so that the runtime runs INT8 kernels.

A tensor has at most one quantizer and all its readers see the quantized values. Operators that only move
values (`keeps.py`) get none: their scale is their input's, so that the zeros of an option-A shortcut are
exact on codes. Weights get theirs in both tables; biases are rounded to the int32 codes that ONNX Runtime
makes of them.

The *residual stream* of a transformer (what linear layers over a sequence write, its sums, moves and means) stays float
in both tables, as do softmax, LayerNorm and attention: only what those linear layers read, and their weights, is INT8.
An INT8 sum per layer would round the stream dozens of times and spares no kernel: the matrix product writes floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx

from edgeprune.quantization.keeps import keeps_scale, packet, source

ATEN = torch.ops.aten
Runtime = Literal["onnxruntime", "tensorrt"]

WEIGHTED = {ATEN.conv1d, ATEN.conv2d, ATEN.conv3d, ATEN.linear}
# A Q behind one of these is where the runtime's kernel writes its codes, so nothing may stand between the
# two.
FUSED_ACTIVATIONS = {ATEN.relu, ATEN.relu6, ATEN.hardtanh, ATEN.clamp, ATEN.clamp_min}
# ONNX Runtime has integer kernels for these, which need Q on every input and on the output: QLinearAdd,
# QLinearMul, QLinearConcat, QLinearAveragePool, QLinearGlobalAveragePool, QLinearSigmoid.
WITH_KERNEL = {
    ATEN.add,
    ATEN.mul,
    ATEN.cat,
    ATEN.avg_pool2d,
    ATEN.adaptive_avg_pool2d,
    ATEN.mean,
    ATEN.sigmoid,
}


@dataclass(frozen=True)
class Placement:
    """Nodes whose output is quantized per tensor, and stored weights quantized per output channel."""

    activations: tuple[fx.Node, ...]
    weights: tuple[fx.Node, ...]


def place(graph: fx.Graph, runtime: Runtime) -> Placement:
    """Choose the tensors of a graph whose BatchNorms are folded."""
    weights = {
        node.args[1]: None
        for node in graph.nodes
        if packet(node) in WEIGHTED and isinstance(node.args[1], fx.Node) and node.args[1].op == "get_attr"
    }
    chosen = PLACEMENTS[runtime](graph)
    in_order = [node for node in graph.nodes if node in chosen]
    return Placement(tuple(in_order), tuple(w for w in weights if isinstance(w, fx.Node)))


def _for_onnxruntime(graph: fx.Graph) -> set[fx.Node]:
    """Inputs and outputs of every operator that has an integer kernel.

    | tensor | reason |
    |---|---|
    | input of conv, linear | its codes are what the kernel reads |
    | output of conv, linear, after a ReLU that alone reads it | QLinearConv exists only with Q behind it |
    | inputs and output of add, mul, cat, average pooling, sigmoid | QLinearAdd and its like need both |
    | output of a linear layer over a sequence | none: MatMulIntegerToFloat writes floats, the bias is added to them |
    | output of the network | none: QGemm can write floats, and a rounded logit helps nobody |
    | part of a cat that nothing else reads | none: the Q of the cat moves onto it, with one scale for all |
    """
    chosen: set[fx.Node] = set()
    result, stream = _result(graph), _residual_stream(graph)
    for node in graph.nodes:
        if packet(node) not in WEIGHTED and (node in stream or not _has_kernel(node)):
            continue
        chosen.update(source(tensor) for tensor in _tensors(node))
        end = _end(node)
        if end is not result and node not in stream:
            chosen.add(end)
    for node in graph.nodes:
        if packet(node) == ATEN.cat and node not in stream and _has_kernel(node):
            chosen.difference_update(part for part in _tensors(node) if [*part.users] == [node])
    return chosen


def _for_tensorrt(graph: fx.Graph) -> set[fx.Node]:
    """Inputs of weighted operators, and the residual input of an add (targets: explicit quantization rules).

    | tensor | reason |
    |---|---|
    | input of conv, linear | TensorRT pulls the Q into the kernel that writes the tensor |
    | output of conv before an add | none: conv, add and ReLU become one kernel that sums in float |
    | the other input of that add | INT8 is what the fused kernel reads it as |
    | the residual stream of a transformer | none: see above |
    | outputs in general | none: TensorRT would have to honour each of them and fuse less |
    """
    chosen: set[fx.Node] = set()
    stream = _residual_stream(graph)
    for node in graph.nodes:
        if packet(node) in WEIGHTED:
            chosen.add(source(_tensors(node)[0]))
        elif packet(node) == ATEN.add and node not in stream and _has_kernel(node):
            residual = _residual(node)
            if residual is not None:
                chosen.add(source(residual))
    return chosen


PLACEMENTS = {"onnxruntime": _for_onnxruntime, "tensorrt": _for_tensorrt}


def _has_kernel(node: fx.Node) -> bool:
    """An operator of the table above on computed tensors only: a stored or plain number has no quantizer."""
    if packet(node) not in WITH_KERNEL:
        return False
    if packet(node) in (ATEN.add, ATEN.mul):
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
        value = node.meta.get("val")
        if packet(node) == ATEN.linear:
            over_sequence = isinstance(value, torch.Tensor) and value.dim() > 2
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
    count = 2 if packet(node) in (ATEN.add, ATEN.mul) else 1
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
        if packet(fused) in WEIGHTED and len(fused.users) == 1 and not keeps_scale(fused):
            return other
    return None
