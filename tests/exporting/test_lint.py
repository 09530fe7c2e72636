"""Clean graphs pass, and each broken rule is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.exporting.lint import lint_tensorrt
from edgeprune.exporting.lower import to_tensorrt
from tests.exporting.networks import STYLES, exported, lowered

HIGHEST = 20


def _clean() -> onnx.ModelProto:
    return to_tensorrt(exported("Residual", STYLES[2]))


@pytest.mark.parametrize(
    "name", ["Residual", "OptionA", "Depthwise", "Plain", "Dead", "PoolFirst", "Shared", "Transformer"]
)
def test_graphs_placed_for_tensorrt_are_clean(name: str) -> None:
    assert lint_tensorrt(to_tensorrt(exported(name, STYLES[2])), 4, HIGHEST) == []


def _set(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def _first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.op_type == kind)


def _nonzero_point(model: onnx.ModelProto) -> None:
    _set(model, _first(model, "QuantizeLinear").input[2], lambda z: z + np.int8(3))


def _unsigned(model: onnx.ModelProto) -> None:
    _set(model, _first(model, "QuantizeLinear").input[2], lambda z: z.astype(np.uint8))


def _dead_scale(model: onnx.ModelProto) -> None:
    _set(model, "stem.0.weight_scale", lambda s: s * np.arange(len(s), dtype=np.float32))


def _negative_scale(model: onnx.ModelProto) -> None:
    _set(model, _first(model, "QuantizeLinear").input[1], lambda s: -s)


def _wrong_axis(model: onnx.ModelProto) -> None:
    weight = next(n for n in model.graph.node if n.input[0] == "a.0.weight")
    next(a for a in weight.attribute if a.name == "axis").i = 1


def _per_channel_activation(model: onnx.ModelProto) -> None:
    quantizer = _first(model, "QuantizeLinear")
    _set(model, quantizer.input[1], lambda s: np.full(3, s))


def _float_weight(model: onnx.ModelProto) -> None:
    layer = next(n for n in model.graph.node if n.name == "a.0")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.float32), "float_weight"))
    layer.input[1] = "float_weight"


def _operator_form(model: onnx.ModelProto) -> None:
    _first(model, "Conv").op_type = "QLinearConv"


def _old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 8


def _new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (_nonzero_point, "zero point is not 0"),
        (_unsigned, "uint8, not int8"),
        (_dead_scale, "scale is not positive"),
        (_negative_scale, "scale is not positive"),
        (_wrong_axis, "axis 1"),
        (_per_channel_activation, "scale per channel"),
        (_float_weight, "the weight is not"),
        (_operator_form, "QLinearConv"),
        (_old_opset, "opset 8"),
        (_new_opset, "opset 21"),
    ],
)
def test_each_broken_rule_is_found(breaking: Callable[[onnx.ModelProto], None], words: str) -> None:
    model = _clean()
    breaking(model)
    assert any(words in fault for fault in lint_tensorrt(model, 8, HIGHEST))


def test_odd_widths_are_found_but_not_those_of_input_and_output() -> None:
    model = to_tensorrt(exported("Depthwise", STYLES[2]))
    faults = lint_tensorrt(model, 8, HIGHEST)
    assert faults == ["project: 12 outputs are no multiple of 8", "head: 12 inputs are no multiple of 8"]


def test_the_dialect_of_onnxruntime_is_not_for_tensorrt() -> None:
    assert lint_tensorrt(lowered("Residual", STYLES[0]), 8, HIGHEST)
