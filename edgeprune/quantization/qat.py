"""A network with fake quantizers, ready to be trained in INT8."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from edgeprune.model.attributes import attribute
from edgeprune.model.device import device_of
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import Traced
from edgeprune.quantization.calibrate import calibrate
from edgeprune.quantization.equalize import equalize
from edgeprune.quantization.fake import (
    ActivationQuantizer,
    BiasQuantizer,
    Codes,
    WeightQuantizer,
    refresh_units,
)
from edgeprune.quantization.graph import QUANTIZERS, weights_of
from edgeprune.quantization.keeps import source
from edgeprune.quantization.place import Runtime, is_layer, place
from edgeprune.quantization.ranges import RangeMethod
from edgeprune.quantization.sign import non_negative
from edgeprune.quantization.spelling import spell_out
from edgeprune.spec.target import Target

Activations = Literal["unsigned", "signed"]


@dataclass(frozen=True)
class Scheme:
    """How a network becomes INT8.

    `outputs`: quantize what layers write also where the runtime does not ask for it (`place.place`). `equalized`:
    spread ranges of channels over neighbouring layers first. `learned`: scales are trained (LSQ).
    """

    activations: Activations
    runtime: Runtime
    weight_bits: Literal[7, 8]
    ranges: RangeMethod = "ema"
    equalized: bool = False
    learned: bool = False
    outputs: bool = False

    @classmethod
    def of(cls, target: Target) -> Scheme:
        """What a target's facts say."""
        return cls(target.activations.value, target.runtime, target.weight_bits.value)


def prepare(traced: Traced, scheme: Scheme, calibration: Iterable[Tensor]) -> Traced:
    """Return a copy with BatchNorms folded, quantizers in and their ranges set from the calibration batches.

    The ranges hold still until `observe(module, True)`.

    Raises:
        EdgepruneError: no calibration batch, or one that makes an activation infinite or NaN.
    """
    prepared = insert(traced, scheme)
    calibrate(prepared, calibration, scheme.ranges)
    refresh_units(prepared.module, weights_of(prepared.module))
    if scheme.learned:
        for part in [*prepared.module.modules()]:
            if isinstance(part, ActivationQuantizer | WeightQuantizer):
                part.hold_scale(part.unit, learned=True)
    return prepared


def insert(traced: Traced, scheme: Scheme) -> Traced:
    """`prepare` without the ranges: what a state dict of it can be loaded into."""
    prepared = fold_batch_norm(traced)
    if scheme.equalized:
        equalize(prepared)
    spell_out(prepared, scheme.runtime)
    module, device = prepared.module, device_of(prepared)
    placement = place(module.graph, scheme.runtime, scheme.outputs)
    module.add_module(QUANTIZERS, nn.Module())
    quantizers: dict[fx.Node, nn.Module] = {
        node: WeightQuantizer(scheme.weight_bits, attribute(module, str(node.target)).shape[axis], axis)
        for node, axis in placement.weights.items()
    }
    for node in placement.activations:
        codes = _codes(node, scheme, node in placement.signed)
        quantizers[node] = ActivationQuantizer(codes, follows=scheme.ranges == "ema")
    _insert_for_biases(module, quantizers, scheme.runtime)
    for node, quantizer in quantizers.items():
        _insert(module, node, quantizer)
    module.to(device)
    module.graph.lint()
    module.recompile()
    return prepared


def _codes(node: fx.Node, scheme: Scheme, signed: bool) -> Codes:
    if scheme.activations == "signed" or signed:
        return "signed"
    return "unsigned" if non_negative(node) else "affine"


def _insert(module: fx.GraphModule, node: fx.Node, quantizer: nn.Module) -> None:
    name = f"{QUANTIZERS}.{node.name}"
    module.add_submodule(name, quantizer)
    # Sizes are read from the float tensor, so that in the ONNX a DequantizeLinear has no reader but its kernel.
    readers = {user for user in node.users if user.target != torch.ops.aten.sym_size.int and user.op != "call_module"}
    with module.graph.inserting_after(node):
        quantized = module.graph.call_module(name, (node,))
    quantized.meta = _meta(node)
    node.replace_all_uses_with(quantized, delete_user_cb=lambda user: user in readers)


def _insert_for_biases(module: fx.GraphModule, quantizers: dict[fx.Node, nn.Module], runtime: Runtime) -> None:
    """Round the bias of each layer whose input and weight are quantized; call before those are inserted."""
    for layer in [n for n in module.graph.nodes if is_layer(n, runtime) and len(n.args) > 2]:
        before, weight, bias = layer.args[:3]
        own = quantizers.get(source(before))
        if not isinstance(own, ActivationQuantizer) or weight not in quantizers or not isinstance(bias, fx.Node):
            continue
        name = f"{QUANTIZERS}.{layer.name}_bias"
        module.add_submodule(name, BiasQuantizer())
        with module.graph.inserting_before(layer):
            units = [
                module.graph.create_node("get_attr", f"{QUANTIZERS}.{of.name}.unit") for of in (source(before), weight)
            ]
            rounded = module.graph.call_module(name, (bias, *units))
        rounded.meta = _meta(bias)
        layer.args = (before, weight, rounded, *layer.args[3:])


def _meta(node: fx.Node) -> dict[str, object]:
    return {key: node.meta[key] for key in ("val", "tensor_meta", "nn_module_stack") if key in node.meta}
