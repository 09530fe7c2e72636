"""Operators written out as what the runtimes have integer kernels for; the network computes the same.

| operator | written as | for | reason |
|---|---|---|---|
| scaled_dot_product_attention | two matrix products around a softmax | both | an integer product reads codes; softmax stays float |
| silu | x * sigmoid(x) | ONNX Runtime | QLinearSigmoid and QLinearMul |
| conv_transpose2d | convolution, pixel shuffle, crop | ONNX Runtime | there is no integer kernel for it |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute, set_attribute
from edgeprune.model.fold import drop_dead
from edgeprune.model.operators import arguments, only_reader, per_axis
from edgeprune.model.traced import Traced
from edgeprune.quantization.graph import call
from edgeprune.quantization.keeps import packet

ATEN = torch.ops.aten
Spell = Callable[[fx.GraphModule, fx.Node, dict[str, Any]], fx.Node | None]


def spell_out(traced: Traced, runtime: str) -> None:
    """Rewrite in place whatever has another form for a runtime."""
    module = traced.module
    for node in [n for n in module.graph.nodes if n.op == "call_function"]:
        spell = SPELLINGS[runtime].get(packet(node))
        if spell is None:
            continue
        with module.graph.inserting_before(node):
            written = spell(module, node, arguments(node))
        if written is not None:
            written.meta = {**node.meta, "val": written.meta["val"]}
            node.replace_all_uses_with(written)
            module.graph.erase_node(node)
    drop_dead(module)
    module.graph.lint()


def _attention(module: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> fx.Node | None:  # noqa: ARG001
    """softmax(scale q k^T + mask) v; causal, grouped, dropping or bool-masked attention stays whole."""
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    masked = mask is not None and not mask.meta["val"].dtype.is_floating_point
    if masked or given["is_causal"] or given["enable_gqa"] or given["dropout_p"]:
        return None
    graph = module.graph
    width = query.meta["val"].shape[-1]
    scale = given["scale"] if given["scale"] is not None else float(width) ** -0.5
    # The query is scaled: it is smaller than the scores.
    scaled = call(graph, ATEN.mul.Tensor, query, scale)
    scores = call(graph, ATEN.matmul.default, scaled, call(graph, ATEN.transpose.int, key, -2, -1))
    if mask is not None:
        scores = call(graph, ATEN.add.Tensor, scores, mask)
    weights = call(graph, ATEN.softmax.int, scores, -1)
    return call(graph, ATEN.matmul.default, weights, value)


def _silu(module: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> fx.Node:  # noqa: ARG001
    x = given["self"]
    return call(module.graph, ATEN.mul.Tensor, x, call(module.graph, ATEN.sigmoid.default, x))


def _transposed(module: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> fx.Node | None:
    """One convolution makes the s x s outputs between two inputs as channels; a pixel shuffle lays them out.

    With stride s, output s i + r of the uncropped result sums x[i - a] w[s a + r] over a < ceil(k / s): a convolution
    with the kernel reversed, s^2 times the outputs, and inputs padded by ceil(k / s) - 1. The padding of the transposed
    convolution is what is cropped from that. Shi et al. 2016, arXiv 1609.05158, section 3.2.
    """
    x, weight, bias = given["input"], given["weight"], given["bias"]
    stride = per_axis(given["stride"], 2)
    if not only_reader(weight) or given["groups"] != 1 or any(d != 1 for d in per_axis(given["dilation"], 2)):
        return None
    if stride[0] != stride[1] or (bias is not None and not only_reader(bias)):
        return None
    step, stored = stride[0], attribute(module, str(weight.target)).detach()
    taps = [-(-size // step) for size in stored.shape[2:]]
    graph, name = module.graph, str(weight.target)
    set_attribute(module, name, nn.Parameter(_by_phase(stored, step, taps)))
    kernel = graph.get_attr(name)
    kernel.meta["val"] = _fake_like(x, attribute(module, name))
    shift = None
    if bias is not None:
        values = attribute(module, str(bias.target)).detach().repeat_interleave(step * step)
        set_attribute(module, str(bias.target), nn.Parameter(values))
        shift = graph.get_attr(str(bias.target))
        shift.meta["val"] = _fake_like(x, values)
    made = call(graph, ATEN.conv2d.default, x, kernel, shift, [1, 1], [tap - 1 for tap in taps])
    if step > 1:
        made = call(graph, ATEN.pixel_shuffle.default, made, step)
    shape = node.meta["val"].shape
    for axis, before in zip((2, 3), per_axis(given["padding"], 2), strict=True):
        made = call(graph, ATEN.slice.Tensor, made, axis, before, before + shape[axis])
    return made


def _by_phase(weight: Tensor, step: int, taps: list[int]) -> Tensor:
    """`[in, out, k, k]` to `[out s s, in, ceil(k / s), ceil(k / s)]`, the kernels of the s x s phases, reversed."""
    inputs, outputs = weight.shape[:2]
    padded = weight.new_zeros(inputs, outputs, taps[0] * step, taps[1] * step)
    padded[:, :, : weight.shape[2], : weight.shape[3]] = weight
    phases = padded.view(inputs, outputs, taps[0], step, taps[1], step).permute(1, 3, 5, 0, 2, 4)
    return phases.reshape(outputs * step * step, inputs, *taps).flip((2, 3)).contiguous()


def _fake_like(x: fx.Node, value: Tensor) -> Tensor:
    """A stored tensor's shape in the terms of the graph's own notes."""
    fake: Tensor = x.meta["val"].fake_mode.from_tensor(value)
    return fake


SPELLINGS: dict[str, dict[object, Spell]] = {
    "onnxruntime": {
        ATEN.scaled_dot_product_attention: _attention,
        ATEN.silu: _silu,
        ATEN.silu_: _silu,
        ATEN.conv_transpose2d: _transposed,
    },
    "tensorrt": {ATEN.scaled_dot_product_attention: _attention},
}
