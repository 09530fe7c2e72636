"""From a network to the file that its target's runtime takes, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.check import agreement
from edgeprune.exporting.lint import lint_tensorrt
from edgeprune.exporting.lower import to_onnxruntime, to_tensorrt
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.patterns import check_patterns
from edgeprune.exporting.write import Details, write_bundle
from edgeprune.model.count import macs, params
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.layer_shapes import layer_shapes
from edgeprune.model.traced import Traced
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.graph import QUANTIZERS
from edgeprune.spec.bundle import Bundle, Preprocessing
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.target import Target

_LOWERINGS = {"onnxruntime": to_onnxruntime, "tensorrt": to_tensorrt}
_DIALECTS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt"}


def write_onnx(traced: Traced, path: Path, target: Target, quantized: bool, x: Tensor) -> onnx.ModelProto:
    """Write a network as ONNX, quantized (frozen) ones in the target's dialect, and check the file against torch.

    Raises:
        EdgepruneError: the file computes something else, or breaks a rule of the target's runtime.
    """
    network = traced if quantized else fold_batch_norm(traced)
    model = to_onnx(network, target.opset.value)
    if quantized:
        model = _LOWERINGS[target.runtime](model)
    onnx.save(model, path)
    agreement(network, path, x, exact=True)
    if quantized and target.runtime == "tensorrt":
        # Narrow layers are slow there, not refused: they are noted where the figures are.
        faults = lint_tensorrt(model, 1, target.opset.value)
        if faults:
            raise EdgepruneError(f"{path.name} breaks a rule of TensorRT: {faults[0]}. Report the network.")
    return model


def dialect(target: Target, quantized: bool) -> str:
    """Which Q/DQ the file speaks."""
    return _DIALECTS[target.runtime] if quantized else "float"


@dataclass(frozen=True)
class Shipping:
    """What a bundle says beside the network, where no run says it."""

    target: Target
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pattern: str = "channel"
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """With a mask pattern: weight name -> bool, True where a weight stays; the file is held to it."""


def ship(traced: Traced, x: Tensor, folder: Path, shipping: Shipping) -> Bundle:
    """Write a bundle of a network, with quantizers or without; `x` become the golden inputs."""
    quantized = hasattr(traced.module, QUANTIZERS)
    network = freeze(traced) if quantized else traced
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.onnx"
    try:
        model = write_onnx(network, partial, shipping.target, quantized, x)
    finally:
        partial.unlink(missing_ok=True)
    if shipping.kept:
        kept = {name: mask.cpu().numpy() for name, mask in shipping.kept.items()}
        check_patterns(model, kept, parse_pattern(shipping.pattern))
    side = traced.input_shape[-1]
    details = Details(
        name=f"{folder.name}-{shipping.target.name}",
        target=shipping.target.name,
        runtime=shipping.target.runtime,
        precision="int8" if quantized else "fp32",
        lowering=dialect(shipping.target, quantized),
        weight_bits=shipping.target.weight_bits.value,
        preprocessing=Preprocessing(
            channels={1: "L", 3: "RGB"}.get(traced.input_shape[0], "any"),  # type: ignore[arg-type]
            resize_shorter_to=side,
            crop=side,
            mean=shipping.mean,
            std=shipping.std,
        ),
        labels=shipping.labels,
        macs=macs(traced),
        params=params(traced),
        int8_macs_share=None,
        int8_macs_measured_with=None,
        accuracy=None,
        accuracy_se=None,
        recipe={},
        pattern=shipping.pattern,
        layers=layer_shapes(network),
    )
    return write_bundle(folder, model, details, x.detach().cpu().numpy())
