"""QuantizeLinear and DequantizeLinear of activations: finding them and writing them."""

from __future__ import annotations

import onnx

from edgeprune.exporting.wiring import Array, Wiring

Q, DQ = "QuantizeLinear", "DequantizeLinear"


def activation_quantizers(wiring: Wiring) -> list[onnx.NodeProto]:
    """Every QuantizeLinear of a computed tensor, with one constant scale."""
    return [
        node
        for node in wiring.graph.node
        if node.op_type == Q and wiring.constant(node.input[0]) is None and scale_of(wiring, node) is not None
    ]


def scale_of(wiring: Wiring, node: onnx.NodeProto) -> float | None:
    """The scale of a per-tensor Q or DQ; None if it is per channel."""
    scale = wiring.constant(node.input[1])
    return None if scale is None or scale.size != 1 else float(scale.item())


def zero_point_of(wiring: Wiring, node: onnx.NodeProto) -> Array | None:
    return wiring.constant(node.input[2]) if len(node.input) > 2 else None


def dequantized(wiring: Wiring, name: str) -> onnx.NodeProto | None:
    """The per-tensor DequantizeLinear of codes that are computed, if it writes this tensor."""
    node = wiring.writer.get(name)
    if node is None or node.op_type != DQ or wiring.constant(node.input[0]) is not None:
        return None
    return node if scale_of(wiring, node) is not None else None


def pair(source: str, like: onnx.NodeProto, name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """A Q and a DQ behind it with the scale and zero point of another; the DQ writes `name`."""
    codes = f"{name}_codes"
    parameters = list(like.input[1:3])
    return (
        onnx.helper.make_node(Q, [source, *parameters], [codes], name=codes),
        onnx.helper.make_node(DQ, [codes, *parameters], [name], name=name),
    )


def same_codes(wiring: Wiring, one: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    """Whether two Q or DQ nodes use one scale and one zero point of one type."""
    zeros = [zero_point_of(wiring, node) for node in (one, other)]
    if zeros[0] is None or zeros[1] is None or zeros[0].dtype != zeros[1].dtype:
        return False
    return scale_of(wiring, one) == scale_of(wiring, other) and zeros[0].item() == zeros[1].item()
