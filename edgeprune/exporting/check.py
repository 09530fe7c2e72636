"""What was exported is what was trained: ONNX Runtime against torch, and how much the file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.session import open_session
from edgeprune.model.operators import arguments, name_of
from edgeprune.model.traced import Traced

FLOAT_LIMIT = 0.001
INT8_LIMIT = 0.15
"""Of one image's relative L2. torch multiplies by a reciprocal where ONNX divides, and sums round differently: a few
codes in a million differ by one, and a deep network passes them on. Networks of few layers agree to 1e-2; the worst
of 500 images was 0.10 on ResNet-20 and 0.04 on ResNet-18, with the same class for 99.4 % or more."""
BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """Worst relative L2 distance of one image's outputs, and the share of images with the same class."""

    worst: float
    same_class: float


def agreement(traced: Traced, model_path: Path, x: Tensor, exact: bool) -> Agreement:
    """Compare a network in eval mode (quantizers frozen) with its file.

    `exact`: integer sums that do not saturate, also on CPUs that are faster with sums that do.

    Raises:
        EdgepruneError: they differ beyond the limits above, or the file holds more parameters than the
        network.
    """
    model = onnx.load(model_path)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    stored, expected = stored_parameters(model), network_parameters(traced)
    if stored > expected:
        raise EdgepruneError(
            f"{model_path.name} holds {stored} parameters, the network has {expected}. Export it again."
        )
    with torch.no_grad():
        wanted = torch.cat([traced.module(part) for part in x.split(BATCH)]).cpu().numpy()
    got = infer(model_path, x.cpu().numpy(), exact)
    found = Agreement(float(relative_l2(got, wanted).max()), float(_same_class(got, wanted)))
    limit = INT8_LIMIT if quantized else FLOAT_LIMIT
    if not found.worst <= limit:
        raise EdgepruneError(
            f"{model_path.name} differs from the network by {found.worst:.3g} (relative L2, limit {limit}) "
            "in ONNX Runtime. Report it with the model."
        )
    return found


def infer(model: Path | onnx.ModelProto, x: NDArray[np.float32], exact: bool) -> NDArray[np.float32]:
    """Run a file on the CPU, in batches."""
    session = open_session(model, exact=exact)
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: x[i : i + BATCH]})[0] for i in range(0, len(x), BATCH)]
    return np.concatenate(parts).astype(np.float32)


def relative_l2(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each output to what was wanted, in units of the latter's length."""
    rows = (len(wanted), -1)
    distance = np.linalg.norm((got - wanted).reshape(rows).astype(np.float64), axis=1)
    return np.asarray(distance / np.maximum(np.linalg.norm(wanted.reshape(rows), axis=1), 1e-12))


def _same_class(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.mean(got.reshape(len(got), -1).argmax(1) == wanted.reshape(len(wanted), -1).argmax(1)))


def stored_parameters(model: onnx.ModelProto) -> int:
    """Elements of all stored weights, biases and statistics; scales, zero points and shapes are none.

    Equal tensors count once: a weight that two layers share is there twice in ONNX Runtime's dialect.
    """
    scales = {
        name
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Resize")
        for name in node.input[1:]
    }
    codes = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    weights = {
        onnx.numpy_helper.to_array(tensor).tobytes(): int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.name not in scales and tensor.dims and (tensor.data_type in kinds or tensor.name in codes)
    }
    return sum(weights.values())


def network_parameters(traced: Traced) -> int:
    """The same count for the exported graph."""
    quantizing = torch.ops.aten.fake_quantize_per_channel_affine.default
    names: set[str] = set()
    for node in traced.module.graph.nodes:
        if node.op == "get_attr" and any(_reads_value(user, node, quantizing) for user in node.users):
            names.add(str(node.target))
    tensors = {**dict(traced.module.named_parameters()), **dict(traced.module.named_buffers())}
    stored = sum(tensors[name].numel() for name in names if name in tensors and tensors[name].dim())
    return stored + sum(_idle_scales(node) for node in traced.module.graph.nodes)


def _idle_scales(node: fx.Node) -> int:
    """Ones and zeros that the exporter writes: ONNX's instance norm, which stands for group norms too, needs them."""
    if name_of(node) == "group_norm":
        return 2 * int(arguments(node)["num_groups"])
    if name_of(node) == "instance_norm" and arguments(node)["weight"] is None:
        return 2 * int(node.meta["val"].shape[1])
    return 0


def _reads_value(user: fx.Node, node: fx.Node, quantizing: object) -> bool:
    """Whether a node reads a tensor as a value, not as a scale or zero point."""
    return user.target is not quantizing or user.args[0] is node
