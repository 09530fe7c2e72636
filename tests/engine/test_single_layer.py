"""Single layers: read back with the onnx package, checked, and computed against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.engine.onnx_wire import Node, model_bytes
from edgeprune.engine.ort import load_session, open_model
from edgeprune.engine.single_layer import NAME, single_layer
from edgeprune.spec.layer_costs import Family

onnx = pytest.importorskip("onnx")

FAMILIES = [
    Family(op="conv", kernel=(3, 3), padding=(1, 1), stride=(2, 2), height=15, width=14),
    Family(op="conv", kernel=(1, 5), padding=(0, 2), dilation=(1, 2), height=9, width=12),
    Family(op="depthwise", kernel=(3, 3), padding=(1, 1), height=14, width=14),
    Family(op="linear", height=1, width=1),
    Family(op="linear", height=20, width=1),
]


@pytest.mark.parametrize("dialect", ["float", "onnxruntime", "tensorrt"])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_file_is_sound_and_runs(family, dialect):
    inputs, outputs = (1 if family.op == "depthwise" else 24), 16
    content, shape = single_layer(family, inputs, outputs, dialect)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    (layer,) = [node for node in model.graph.node if node.name == NAME]
    assert (
        layer.op_type
        == {"conv": "Conv", "depthwise": "Conv", "linear": "Gemm" if family.height == 1 else "MatMul"}[family.op]
    )
    codes = {node.op_type for node in model.graph.node}
    assert ("QuantizeLinear" in codes) == (dialect != "float")
    session = load_session(content, 1)
    (y,) = session.run(None, {"x": np.zeros((2, *shape), np.float32)})
    high, wide = family.places
    assert y.shape == (
        (2, *((family.height,) if family.height > 1 else ()), outputs)
        if family.op == "linear"
        else (2, outputs, high, wide)
    )


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("dialect", ["float", "onnxruntime"])
def test_the_profiler_names_the_layer(family, dialect, tmp_path):
    content, shape = single_layer(family, 1 if family.op == "depthwise" else 16, 16, dialect)
    (tmp_path / "m.onnx").write_bytes(content)
    rows = open_model(tmp_path / "m.onnx", 1).layer_times(np.ones((1, *shape), np.float32), 3)
    (mine,) = [row for row in rows if row.name == NAME]
    assert mine.ms > 0
    assert mine.int8 == (dialect != "float")


def test_places_and_multiply_adds_are_those_of_the_formula():
    family = FAMILIES[0]
    assert family.places == (8, 7)
    assert family.macs(24, 16) == 24 * 16 * 9 * 56
    assert FAMILIES[2].macs(1, 16) == 16 * 9 * 14 * 14
    assert FAMILIES[4].macs(24, 16) == 24 * 16 * 20


def test_wire_format_against_the_onnx_package():
    from onnx import TensorProto, numpy_helper

    arrays = {"w": np.arange(300, dtype=np.float32).reshape(100, 3), "q": np.full((2, 1), -128, np.int8)}
    node = Node("Gemm", ["x", "w"], "y", "named", {"transB": 1, "many": (1, 0, 70000)})
    model = onnx.load_from_string(model_bytes([node], arrays, ("x", (3,)), ("y", (100,))))
    (found,) = model.graph.node
    assert (found.op_type, found.name, list(found.input), list(found.output)) == ("Gemm", "named", ["x", "w"], ["y"])
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in found.attribute}
    assert attributes == {"transB": 1, "many": [1, 0, 70000]}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), arrays[tensor.name])
    (x,) = model.graph.input
    assert x.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [axis.dim_param or axis.dim_value for axis in x.type.tensor_type.shape.dim] == ["n", 3]
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)
