"""The pattern of zeros that an ONNX file's weights have: what was masked is zero in the file that ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.wiring import Array, Wiring, attribute
from edgeprune.spec.pattern import Pattern

BETWEEN = ("DequantizeLinear", "QuantizeLinear", "Transpose")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """One layer's stored weights. `integer`: INT8 codes. `zeros`: share of all its weights.

    `pattern`: with a group of M asked for, `N:M` with N the most weights other than zero in a group, or `dense` where M
    does not divide the inputs; with blocks, the share of blocks that are all zero as `0.50 of 1x4`.
    """

    layer: str
    shape: tuple[int, ...]
    integer: bool
    zeros: float
    pattern: str


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    """Stored weights of convolutions and linear layers as `[out, in, *kernel]`, by the node that reads them.

    INT8 codes where the file holds such. A layer whose weight is computed from activations is none.
    """
    wiring = Wiring(model)
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        name, turned = node.input[1], 0
        while name in wiring.writer and wiring.writer[name].op_type in BETWEEN:
            turned += wiring.writer[name].op_type == "Transpose"
            name = wiring.writer[name].input[0]
        weight = wiring.constant(name)
        if weight is None:
            continue
        if node.op_type in ("Gemm", "MatMul"):
            turned += not attribute(node, "transB", 0)
        found[node.name] = weight.T if turned % 2 and weight.ndim == 2 else weight
    return found


def find_patterns(model: onnx.ModelProto, pattern: Pattern) -> dict[str, Found]:
    """What of a pattern each layer of a file has, by node name."""
    return {
        name: Found(
            layer=name,
            shape=tuple(weight.shape),
            integer=weight.dtype.kind in "iu",
            zeros=float(np.mean(weight == 0)),
            pattern=_pattern(weight != 0, pattern),
        )
        for name, weight in weights_of(model).items()
    }


def check_patterns(model: onnx.ModelProto, kept: Mapping[str, Mask], pattern: Pattern) -> dict[str, Found]:
    """Compare a file with the masks that its network was trained with; returns what the masked layers have.

    `kept` is by weight name, True where a weight stays.

    Raises:
        EdgepruneError: a masked layer is not in the file, or a weight is not zero that should be.
    """
    masks = {name.removesuffix(".weight"): mask for name, mask in kept.items()}
    found = find_patterns(model, pattern)
    checked: dict[str, Found] = {}
    for node, weight in weights_of(model).items():
        layer = _layer(node, masks)
        if layer is None:
            continue
        mask = masks[layer]
        revived = int(np.count_nonzero(weight[~mask])) if mask.shape == weight.shape else weight.size
        if revived or (pattern.kind == "n:m" and not _holds(weight != 0, pattern)):
            raise EdgepruneError(
                f"{node}: lost its pattern {pattern} on the way into the ONNX file ({revived} weights that were masked "
                "are not zero). In a training loop of your own, give the optimizer to Network.hold first."
            )
        checked[node] = found[node]
    missing = set(masks) - {_layer(node, masks) for node in checked}
    if missing:
        raise EdgepruneError(
            f"{min(missing)}: has pattern {pattern} but is not in the ONNX file under its name. Report the network."
        )
    return checked


def _layer(node: str, masks: Mapping[str, Mask]) -> str | None:
    """The masked layer that a node is of; a layer that is called again has `_` behind its name."""
    while node not in masks and node.endswith("_"):
        node = node[:-1]
    return node if node in masks else None


def _groups(there: Mask, group: int) -> Mask:
    """`[..., groups, group]` along the input channels."""
    last = np.moveaxis(there, 1, -1)
    return last.reshape(*last.shape[:-1], -1, group)


def _holds(there: Mask, pattern: Pattern) -> bool:
    return there.shape[1] % pattern.group == 0 and bool((_groups(there, pattern.group).sum(-1) <= pattern.kept).all())


def _pattern(there: Mask, pattern: Pattern) -> str:
    if pattern.kind == "n:m":
        if there.shape[1] % pattern.group:
            return "dense"
        return f"{int(_groups(there, pattern.group).sum(-1).max())}:{pattern.group}"
    if pattern.kind == "blocks":
        if there.shape[0] % pattern.rows:
            return "dense"
        blocks = there.reshape(there.shape[0] // pattern.rows, pattern.rows, there.shape[1], -1)
        return f"{float(np.mean(~blocks.any((1, 3)))):.2f} of {pattern}"
    return f"{float(np.mean(~there)):.2f} zero"
