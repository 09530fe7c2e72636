"""ONNX Runtime against numpy, also where x86 would saturate."""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeprune.engine.cores import physical_cores
from edgeprune.engine.ort import open_model
from edgeprune.engine.ort_layers import APPENDED, node_times
from edgeprune.engine.runner import open_runner
from edgeprune.errors import EdgepruneError
from edgeprune.measure.probe import probe

onnx = pytest.importorskip("onnx")


def save(path: Path, nodes: list[Any], inputs: int, outputs: int, weights: dict[str, np.ndarray]) -> Path:
    """Write a graph from x [n, inputs] to y [n, outputs]."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def quantized_linear(path: Path, code_type: type, activation_codes: type = np.uint8) -> Path:
    """Write y = DQ(Q(Q(x) @ w)), every weight at the largest code: sums of byte products beyond 16 bits."""
    from onnx import helper

    top = 127 if code_type is np.int8 else 255
    weights = {
        "w": np.full((64, 8), top, dtype=code_type),
        "one": np.array(1.0, dtype=np.float32),
        "wide": np.array(64 * 127.0, dtype=np.float32),
        "zero": np.array(0, dtype=activation_codes),
        "wzero": np.array(0, dtype=code_type),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "one", "wzero"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "wide", "zero"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "wide", "zero"], ["y"]),
    ]
    return save(path, nodes, 64, 8, weights)


def test_a_linear_model_agrees_with_numpy(tmp_path):
    from onnx import helper

    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 3)).astype(np.float32)
    path = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], 5, 3, {"w": weight})
    runner = open_model(path, threads=1)
    for batch in (1, 7):
        x = rng.normal(size=(batch, 5)).astype(np.float32)
        np.testing.assert_allclose(runner.run(x), x @ weight, rtol=1e-5, atol=1e-5)
    assert runner.threads == 1
    assert not runner.simulated
    assert runner.runtime.startswith("ONNX Runtime ")


def test_threads_default_to_the_physical_cores(tmp_path):
    runner = open_model(quantized_linear(tmp_path / "m.onnx", np.int8))
    assert runner.threads == physical_cores() >= 1


@pytest.mark.parametrize("how", [{"exact": True}, {"simulate": True}])
def test_exact_and_simulated_do_not_saturate(tmp_path, how):
    runner = open_model(quantized_linear(tmp_path / "m.onnx", np.int8), threads=1, **how)
    x = np.full((2, 64), 255, dtype=np.float32)
    np.testing.assert_array_equal(runner.run(x), np.full((2, 8), 255 * 64 * 127.0))


@pytest.mark.skipif(not probe().lacks_vnni, reason="this CPU sums byte products in 32 bits, or is no x86")
def test_without_exact_this_cpu_saturates(tmp_path):
    """What `exact` is there for: the same file, and half the sum is lost."""
    runner = open_model(quantized_linear(tmp_path / "m.onnx", np.int8), threads=1)
    x = np.full((2, 64), 255, dtype=np.float32)
    assert np.all(runner.run(x) < 0.6 * 255 * 64 * 127.0)


@dataclass(frozen=True)
class FakeManifest:
    runtime: str


@dataclass(frozen=True)
class FakeBundle:
    model: Path
    manifest: FakeManifest


def test_a_tensorrt_bundle_is_simulated_and_says_so(tmp_path):
    model = quantized_linear(tmp_path / "m.onnx", np.int8, np.int8)
    runner = open_runner(FakeBundle(model, FakeManifest("tensorrt")), threads=1)  # type: ignore[arg-type]
    assert runner.simulated
    x = np.full((1, 64), 300, dtype=np.float32)  # beyond the signed codes: clipped at 127
    np.testing.assert_array_equal(runner.run(x), np.full((1, 8), 127 * 64 * 127.0))
    assert not open_runner(FakeBundle(model, FakeManifest("onnxruntime"))).simulated  # type: ignore[arg-type]


def test_a_file_that_is_no_model_is_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(EdgepruneError, match="does not take it") as caught:
        open_model(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_command(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EdgepruneError) as caught:
        open_model(tmp_path / "m.onnx")
    assert str(caught.value) == "onnxruntime is not installed. pip install 'edgeprune[cpu]'"


def test_one_input_and_one_output(tmp_path):
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "aby"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "two", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EdgepruneError, match="2 inputs"):
        open_model(tmp_path / "m.onnx")


def test_layer_times_name_the_layers_and_add_up_to_the_call(tmp_path: Path) -> None:
    path = quantized_linear(tmp_path / "linear.onnx", np.int8)
    x = np.ones((4, 64), np.float32)
    times = {row.name: row for row in open_model(path, 1).layer_times(x, 30)}
    assert "between nodes" in times
    assert all(row.ms >= 0 for row in times.values())
    assert sum(row.ms for row in times.values()) > 0
    assert [row for row in times.values() if row.int8], "the quantized product takes bytes"
    assert not list(Path.cwd().glob("profile*.json"))


def test_what_interrupts_a_call_is_in_no_layer_and_not_between_them(tmp_path: Path) -> None:
    """Two calls of two nodes: the first is interrupted in a node, the second between the nodes."""

    def event(name: str, dur: int, cat: str = "Node") -> dict[str, object]:
        return {"cat": cat, "name": name, "dur": dur, "args": {"op_name": "Conv"}}

    calls = [((100, 2000), 2130), ((105, 200), 5305)]
    events = [
        made
        for (a, b), whole in calls
        for made in (event("a_kernel_time", a), event("b_kernel_time", b), event("model_run", whole, "Session"))
    ]
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(events), encoding="utf-8")
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="x")], run=lambda *_: None, end_profiling=lambda: str(file)
    )
    times = node_times(lambda _: session, np.zeros((1, 1), np.float32), 2)
    assert {row.name: row.ms for row in times} == pytest.approx({"a": 0.1, "b": 0.2, "between nodes": 0.03})


@pytest.mark.parametrize("made", ["layer1.0.conv1_token_12", "layer1.0.conv1_nchwc", "layer1.0.conv1_quant_token_3"])
def test_what_the_runtime_appends_to_a_name_goes(made: str) -> None:
    assert APPENDED.sub("", made) == "layer1.0.conv1"
