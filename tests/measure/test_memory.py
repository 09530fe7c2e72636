"""Memory of a fresh process."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.measure.memory import measure_memory

onnx = pytest.importorskip("onnx")


def test_added_memory_grows_with_the_model(make_bundle, tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    side = 2048  # 16 MiB of weights
    weight = np.ones((side, side), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", side])],
        [numpy_helper.from_array(weight, "w")],
    )
    wide = tmp_path / "wide.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(wide))
    large = measure_memory(wide, (1, side), threads=1)
    small = measure_memory(make_bundle() / "model.onnx", (1, 2, 3, 3), threads=1)
    assert large.added_resident_bytes - small.added_resident_bytes > 16 * 2**20
    assert large.model_bytes == wide.stat().st_size


def test_a_process_that_fails_is_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(EdgepruneError, match="measuring its memory failed") as caught:
        measure_memory(tmp_path / "model.onnx", (1, 1), threads=1)
    assert "\n" not in str(caught.value)
