"""A network with fake quantizers, ready to be trained in INT8."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, fx, nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import Traced
from edgeprune.quantization.fake import ActivationQuantizer, BiasQuantizer, WeightQuantizer, observe
from edgeprune.quantization.keeps import packet, source
from edgeprune.quantization.place import WEIGHTED, Runtime, place
from edgeprune.quantization.sign import non_negative

Activations = Literal["unsigned", "signed"]
QUANTIZERS = "quantizers"
"""The submodule that holds them all, by the name of the node that each one quantizes."""


def prepare(
    traced: Traced,
    activations: Activations,
    runtime: Runtime,
    weight_bits: Literal[7, 8],
    calibration: Iterable[Tensor],
) -> Traced:
    """Return a copy with BatchNorms folded, quantizers in and their ranges set from the calibration batches.

    The ranges hold still until `observe(module, True)`.

    Raises:
        EdgepruneError: no calibration batch, or one that makes an activation infinite or NaN.
    """
    prepared = fold_batch_norm(traced)
    module = prepared.module
    placement = place(module.graph, runtime)
    module.add_module(QUANTIZERS, nn.Module())
    quantizers: dict[fx.Node, nn.Module] = {node: WeightQuantizer(weight_bits) for node in placement.weights}
    for node in placement.activations:
        quantizers[node] = ActivationQuantizer(signed=activations == "signed" or not non_negative(node))
    _insert_for_biases(module, quantizers, weight_bits)
    for node, quantizer in quantizers.items():
        _insert(module, node, quantizer)
    module.graph.lint()
    module.recompile()
    _calibrate(prepared, calibration)
    return prepared


def _insert(module: fx.GraphModule, node: fx.Node, quantizer: nn.Module) -> None:
    name = f"{QUANTIZERS}.{node.name}"
    module.add_submodule(name, quantizer)
    # Sizes are read from the float tensor, so that in the ONNX a DequantizeLinear has no reader but its
    # kernel. A bias takes its unit from the unrounded weight, which has the same scale.
    readers = {user for user in node.users if user.target != torch.ops.aten.sym_size.int and user.op != "call_module"}
    with module.graph.inserting_after(node):
        quantized = module.graph.call_module(name, (node,))
    quantized.meta = _meta(node)
    node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user in readers)


def _insert_for_biases(module: fx.GraphModule, quantizers: dict[fx.Node, nn.Module], weight_bits: int) -> None:
    """Round the bias of each layer whose input and weight are quantized; call before those are inserted."""
    for layer in [n for n in module.graph.nodes if packet(n) in WEIGHTED and len(n.args) > 2]:
        before, weight, bias = layer.args[:3]
        own = quantizers.get(source(before))
        if not isinstance(own, ActivationQuantizer) or weight not in quantizers or not isinstance(bias, fx.Node):
            continue
        name = f"{QUANTIZERS}.{layer.name}_bias"
        module.add_submodule(name, BiasQuantizer(own.levels, weight_bits))
        with module.graph.inserting_before(layer):
            absmax = module.graph.create_node("get_attr", f"{QUANTIZERS}.{source(before).name}.absmax")
            rounded = module.graph.call_module(name, (bias, weight, absmax))
        rounded.meta = _meta(bias)
        layer.args = (before, weight, rounded, *layer.args[3:])


def _meta(node: fx.Node) -> dict[str, object]:
    return {key: node.meta[key] for key in ("val", "tensor_meta", "nn_module_stack") if key in node.meta}


def _calibrate(traced: Traced, batches: Iterable[Tensor]) -> None:
    module = traced.module
    reference = next(module.parameters())
    observe(module, True)
    count = 0
    with torch.no_grad():
        for batch in batches:
            module(batch.to(device=reference.device, dtype=reference.dtype))
            count += 1
    observe(module, False)
    if not count:
        raise EdgepruneError("no calibration images. Give at least one batch.")
    for name, part in module.named_modules():
        if isinstance(part, ActivationQuantizer) and not bool(part.absmax.isfinite()):
            tensor = name.removeprefix(f"{QUANTIZERS}.")
            raise EdgepruneError(f"the activation {tensor} is not finite on the calibration images. Check the weights.")
