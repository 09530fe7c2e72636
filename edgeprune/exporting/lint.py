"""The rules by which TensorRT takes an INT8 ONNX file and runs it in INT8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from edgeprune.exporting.pairs import DQ, Q, zero_point_of
from edgeprune.exporting.wiring import Wiring, attribute

LOWEST_OPSET = 9
"""Of TensorRT 10; its highest is the target's."""
OPERATOR_FORM = {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}


def lint_tensorrt(model: onnx.ModelProto, multiple: int, max_opset: int) -> list[str]:
    """One line per broken rule; empty when the file is clean.

    `multiple` is what widths must be divisible by, except the network's input channels and the outputs of its
    last layer. Sources: onnx-tensorrt's importer (zero points, types, scales) and NVIDIA's placement rules
    (widths).
    """
    wiring = Wiring(model)
    faults = [*_opset(model, max_opset)]
    for node in model.graph.node:
        if node.op_type in OPERATOR_FORM or node.domain not in ("", "ai.onnx"):
            faults.append(f"{node.name}: {node.op_type} is not an operator that TensorRT takes")
        elif node.op_type in (Q, DQ):
            faults.extend(_quantizer(wiring, node))
        elif node.op_type in ("Conv", "Gemm", "MatMul"):
            faults.extend(_weight(wiring, node))
            faults.extend(_widths(wiring, node, multiple))
    return faults


def _opset(model: onnx.ModelProto, max_opset: int) -> Iterator[str]:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not LOWEST_OPSET <= version <= max_opset:
        yield f"opset {version} is outside {LOWEST_OPSET} to {max_opset}"


def _quantizer(wiring: Wiring, node: onnx.NodeProto) -> Iterator[str]:
    scale, zero_point = wiring.constant(node.input[1]), zero_point_of(wiring, node)
    if scale is None:
        yield f"{node.name}: the scale is not constant"
        return
    if not np.all(np.isfinite(scale)) or not np.all(np.asarray(scale, np.float64) > 0):
        yield f"{node.name}: a scale is not positive"
    if zero_point is None:
        if len(node.input) > 2 and node.input[2]:
            yield f"{node.name}: the zero point is not constant"
        elif node.op_type == Q:
            yield f"{node.name}: without a zero point the codes are uint8"
        return
    if zero_point.dtype != np.int8:
        yield f"{node.name}: codes are {zero_point.dtype}, not int8"
    if np.any(zero_point):
        yield f"{node.name}: a zero point is not 0"
    if zero_point.size != scale.size:
        yield f"{node.name}: {zero_point.size} zero points for {scale.size} scales"
    if scale.size > 1 and not _of_stored(wiring, node):
        yield f"{node.name}: an activation has a scale per channel"


def _of_stored(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """Whether a Q or DQ works on a stored tensor."""
    name = node.input[0]
    while name in wiring.writer and wiring.writer[name].op_type in (Q, DQ):
        name = wiring.writer[name].input[0]
    return name in wiring.stored


def _weight(wiring: Wiring, node: onnx.NodeProto) -> Iterator[str]:
    """In a layer with INT8 input, the weight comes from constant codes with one scale per output channel."""
    data, weight = wiring.writer.get(node.input[0]), wiring.writer.get(node.input[1])
    if data is None or data.op_type != DQ:
        return
    if weight is None or weight.op_type != DQ:
        if node.op_type != "MatMul":
            yield f"{node.name}: the input is INT8 but the weight is not"
        return
    if not _of_stored(wiring, weight):
        yield f"{node.name}: the weight is not constant"
        return
    scale = wiring.constant(weight.input[1])
    if scale is None or scale.size == 1:
        return
    axis = attribute(weight, "axis", 1)
    right = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    if axis != right:
        yield f"{node.name}: scales run along axis {axis} of the weight, not {right}"


def _widths(wiring: Wiring, node: onnx.NodeProto, multiple: int) -> Iterator[str]:
    shape = _stored_shape(wiring, node.input[1])
    if shape is None:
        return
    group = attribute(node, "group", 1)
    assert isinstance(group, int)
    if node.op_type == "Conv":
        outputs, inputs = shape[0], shape[1] * group
    else:
        outputs, inputs = (shape[0], shape[1]) if attribute(node, "transB", 0) else (shape[1], shape[0])
    if inputs % multiple and not _reads_input(wiring, node.input[0]):
        yield f"{node.name}: {inputs} inputs are no multiple of {multiple}"
    if outputs % multiple and not _is_last(wiring, node):
        yield f"{node.name}: {outputs} outputs are no multiple of {multiple}"


def _stored_shape(wiring: Wiring, name: str) -> list[int] | None:
    while name in wiring.writer and wiring.writer[name].op_type in (Q, DQ):
        name = wiring.writer[name].input[0]
    return list(wiring.stored[name].dims) if name in wiring.stored else None


def _reads_input(wiring: Wiring, name: str) -> bool:
    while name in wiring.writer:
        node = wiring.writer[name]
        if node.op_type in ("Conv", "Gemm", "MatMul") or not node.input:
            return False
        name = node.input[0]
    return name in {value.name for value in wiring.graph.input}


def _is_last(wiring: Wiring, node: onnx.NodeProto) -> bool:
    """No weighted operator reads what this one wrote."""
    seen, waiting = set(), [*node.output]
    while waiting:
        name = waiting.pop()
        for reader in wiring.readers.get(name, []):
            if reader.op_type in ("Conv", "Gemm", "MatMul"):
                return False
            if reader.name not in seen:
                seen.add(reader.name)
                waiting.extend(reader.output)
    return True
