"""Casting to half precision and other opsets, on files that torch exported; ONNX's checker and ONNX Runtime judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")

from edgeprune.engine.trt.float_weights import store_floats
from edgeprune.engine.trt.half import in_half, to_half
from edgeprune.engine.trt.onnx_file import fix_batch, opset_of, read_model
from edgeprune.engine.trt.opset import to_opset
from edgeprune.errors import EdgepruneError
from edgeprune.exporting.lower import to_tensorrt
from tests.engine.trt.network import answers
from tests.exporting.networks import exported, images

NAMES = ("Residual", "Depthwise", "Dead", "Transformer")


def _checked(model: Any) -> onnx.ModelProto:
    """ONNX's own reading of a file: types that do not agree are refused."""
    read = onnx.load_from_string(model.SerializeToString())
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(read, check_type=True, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def _file(tmp_path: Path, model: onnx.ModelProto) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_reading_and_writing_changes_nothing(tmp_path: Path) -> None:
    model = to_tensorrt(exported("Residual", ("signed", "tensorrt")))
    assert onnx.load_from_string(read_model(_file(tmp_path, model)).SerializeToString()) == model


@pytest.mark.parametrize("name", NAMES)
def test_in_half_a_network_answers_the_same(name: str, tmp_path: Path) -> None:
    model = to_tensorrt(exported(name, ("signed", "tensorrt")))
    changed = read_model(_file(tmp_path, model))
    in_half(changed)
    read = _checked(changed)
    x = np.ascontiguousarray(images(4, seed=3).numpy())
    wanted, found = answers(model.SerializeToString(), x), answers(changed.SerializeToString(), x)
    assert np.linalg.norm(found - wanted) <= 0.03 * np.linalg.norm(wanted)
    types = {tensor.name: tensor.data_type for tensor in read.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in read.graph.value_info}
    for node in read.graph.node:  # what is to run in half is written in half, without a Cast between DQ and layer
        if node.op_type in ("Conv", "Gemm"):
            assert {types[name] for name in node.input} == {TensorProto.FLOAT16}, node.name
    assert read.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert read.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("name", NAMES)
def test_in_an_older_opset_a_network_answers_exactly_the_same(name: str, tmp_path: Path) -> None:
    model = to_tensorrt(exported(name, ("signed", "tensorrt")))
    assert model.opset_import[0].version == 18
    lowered = read_model(_file(tmp_path, model))
    to_opset(lowered, 17)
    _checked(lowered)
    x = np.ascontiguousarray(images(4, seed=3).numpy())
    assert np.array_equal(answers(lowered.SerializeToString(), x), answers(model.SerializeToString(), x))


@pytest.mark.parametrize("name", NAMES)
def test_with_a_fixed_number_of_images_a_network_answers_exactly_the_same(name: str, tmp_path: Path) -> None:
    model = to_tensorrt(exported(name, ("signed", "tensorrt")))
    fixed = read_model(_file(tmp_path, model))
    fix_batch(fixed, 4)
    read = _checked(fixed)
    assert next(iter(read.graph.input[0].type.tensor_type.shape.dim)).dim_value == 4
    x = np.ascontiguousarray(images(4, seed=3).numpy())
    assert np.array_equal(answers(fixed.SerializeToString(), x), answers(model.SerializeToString(), x))


def _network(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], opset: int = 18, shape: tuple[int, ...] = (2, 4)
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def test_forms_that_changed_in_opset_18(tmp_path: Path) -> None:
    """Against ONNX Runtime, which knows both."""
    axes, pads = np.array([1], np.int64), np.array([1, 0], np.int64)
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Concat", ["b", "a"], ["c"], axis=1),
        helper.make_node("Pad", ["c", "pads", "", "axes"], ["d"]),
        helper.make_node("ReduceMean", ["d", "axes"], ["e"], keepdims=0),
        helper.make_node("ReduceMax", ["d"], ["f"], keepdims=0),
        helper.make_node("Add", ["e", "f"], ["y"]),
    ]
    model = onnx.shape_inference.infer_shapes(_network(nodes, {"axes": axes, "pads": pads}))
    lowered = read_model(_file(tmp_path, model))
    to_opset(lowered, 17)
    assert opset_of(lowered) == 17
    _checked(lowered)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    assert np.array_equal(answers(lowered.SerializeToString(), x), answers(model.SerializeToString(), x))


@pytest.mark.parametrize("name", NAMES)
def test_float_weights_behind_a_quantizer_are_the_same_codes(name: str, tmp_path: Path) -> None:
    model = to_tensorrt(exported(name, ("signed", "tensorrt")))
    changed = read_model(_file(tmp_path, model))
    store_floats(changed)
    read = _checked(changed)
    written = {output for node in read.graph.node for output in node.output}
    assert all(node.input[0] in written for node in read.graph.node if node.op_type == "DequantizeLinear")
    x = np.ascontiguousarray(images(4, seed=3).numpy())
    assert np.array_equal(answers(changed.SerializeToString(), x), answers(model.SerializeToString(), x))


def test_what_has_no_older_form_is_named(tmp_path: Path) -> None:
    model = _network([helper.make_node("Mish", ["x"], ["y"], name="act")], {})
    with pytest.raises(EdgepruneError, match="act: Mish does not exist in opset 17"):
        to_opset(read_model(_file(tmp_path, model)), 17)


def test_values_beyond_half_are_clamped_and_norms_stay_single(tmp_path: Path) -> None:
    assert to_half(np.array([1e9, -np.inf, 1.0], np.float32)).tolist() == [65504.0, -65504.0, 1.0]
    weights = {"mask": np.full((2, 4), -1e9, np.float32)}
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["x", "half"], ["h"]),
        helper.make_node("Add", ["h", "mask"], ["m"]),
        helper.make_node("Softmax", ["m"], ["s"], name="softmax"),
        helper.make_node("Mul", ["s", "s"], ["y"]),
    ]
    changed = read_model(_file(tmp_path, _network(nodes, weights)))
    in_half(changed)
    read = _checked(changed)
    types = {value.name: value.type.tensor_type.elem_type for value in read.graph.value_info}
    assert types["s"] == TensorProto.FLOAT
    assert types["m"] == TensorProto.FLOAT16


def test_a_scale_that_half_cannot_hold_stays_single(tmp_path: Path) -> None:
    """2e-7 would be 1.8e-7 or 2.4e-7 in half."""
    weights = {"s": np.array(2e-7, np.float32), "z": np.array(0, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    model = _network(nodes, weights)
    changed = read_model(_file(tmp_path, model))
    in_half(changed)
    read = _checked(changed)
    assert {t.name: t.data_type for t in read.graph.initializer}["s"] == TensorProto.FLOAT
    assert opset_of(changed) == 19


def test_a_layer_with_such_a_scale_stays_single_and_no_cast_parts_it_from_its_quantizers(tmp_path: Path) -> None:
    """One channel of one layer has tiny weights; the layer before and the one behind are in half."""
    model = to_tensorrt(exported("Residual", ("signed", "tensorrt")))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    writers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    layer = convolutions[1]
    scales = stored[writers[layer.input[1]].input[1]]
    values = numpy_helper.to_array(scales).copy()
    values[0] = 2e-7
    scales.CopyFrom(numpy_helper.from_array(values, scales.name))
    changed = read_model(_file(tmp_path, model))
    in_half(changed)
    read = _checked(changed)
    x = np.ascontiguousarray(images(4, seed=3).numpy())
    wanted, found = answers(model.SerializeToString(), x), answers(changed.SerializeToString(), x)
    assert np.linalg.norm(found - wanted) <= 0.03 * np.linalg.norm(wanted)
    types = {tensor.name: tensor.data_type for tensor in read.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in read.graph.value_info}
    writers = {name: node for node in read.graph.node for name in node.output}
    for node in read.graph.node:
        if node.op_type == "Conv":
            single = node.name == layer.name
            assert {types[name] for name in node.input} == {TensorProto.FLOAT if single else TensorProto.FLOAT16}
            assert {writers[name].op_type for name in node.input[:2]} == {"DequantizeLinear"}, node.name
    left = {name for node in read.graph.node for name in node.input} | {"output", read.graph.output[0].name}
    assert all(name in left for node in read.graph.node for name in node.output)


def test_what_is_no_onnx_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(EdgepruneError, match="not an ONNX file"):
        read_model(path)
