"""Which runtime loads which bundle on which machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import edgeprune.engine.runner as module
from edgeprune.engine.runner import choose_runtime, offered, runtime_mismatch
from edgeprune.errors import EdgepruneError


@dataclass(frozen=True)
class Manifest:
    runtime: str
    lowering: str
    target: str = "jetson-orin-nano"


@dataclass(frozen=True)
class Bundle:
    manifest: Manifest
    path: Path = Path("bundle")


CPU = Bundle(Manifest("onnxruntime", "onnxruntime", "cpu-x86-vnni"))
CPU_FLOAT = Bundle(Manifest("onnxruntime", "float", "cpu-x86-vnni"))
TRT = Bundle(Manifest("tensorrt", "tensorrt"))
TRT_FLOAT = Bundle(Manifest("tensorrt", "float"))


@pytest.mark.parametrize(
    ("here", "bundle", "asked", "chosen"),
    [
        (["cpu"], CPU, None, "cpu"),
        (["tensorrt", "cuda", "cpu"], CPU, None, "cpu"),
        (["tensorrt", "cuda", "cpu"], TRT, None, "tensorrt"),
        (["tensorrt", "cuda", "cpu"], TRT_FLOAT, None, "tensorrt"),
        (["cuda", "cpu"], TRT_FLOAT, None, "cuda"),
        (["cuda", "cpu"], CPU_FLOAT, "cuda", "cuda"),
        (["cpu"], TRT_FLOAT, "cpu", "cpu"),
        (["tensorrt", "cuda", "cpu"], TRT_FLOAT, "cuda", "cuda"),
        (["cuda", "cpu"], TRT, None, "There is no TensorRT here: profile it on the jetson-orin-nano"),
        (["cpu"], TRT_FLOAT, None, "Or measure the float network with --runtime cpu"),
        (["cuda", "cpu"], TRT, "cuda", "There is no TensorRT here"),
        (["cuda", "cpu"], CPU, "cuda", "which cuda would compute in float"),
        (["cpu"], CPU, "cuda", "--runtime cuda is not on this machine. It offers cpu"),
    ],
)
def test_the_runtime_is_the_bundle_s_own_where_it_is_there(monkeypatch, here, bundle, asked, chosen):
    monkeypatch.setattr(module, "offered", lambda: here)
    if chosen in ("cpu", "cuda", "tensorrt"):
        assert choose_runtime(bundle, asked) == chosen
    else:
        with pytest.raises(EdgepruneError) as caught:
            choose_runtime(bundle, asked)
        assert chosen in str(caught.value)
        assert "\n" not in str(caught.value)


def test_another_runtime_is_told():
    assert runtime_mismatch(CPU.manifest, "cpu") is None
    assert runtime_mismatch(TRT.manifest, "tensorrt") is None
    assert "not on TensorRT" in str(runtime_mismatch(TRT.manifest, "cuda"))
    assert "not on ONNX Runtime's CPU kernels" in str(runtime_mismatch(CPU.manifest, "cuda"))


def test_this_machine_offers_what_its_onnx_runtime_does(monkeypatch):
    assert "cpu" in offered()
    monkeypatch.setattr(module, "providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert offered()[-2:] == ["cuda", "cpu"]


def test_a_provider_that_does_not_start_is_a_fault_and_no_silent_cpu(tmp_path):
    pytest.importorskip("onnx")
    from edgeprune.engine.ort import CUDA, open_model, providers
    from edgeprune.engine.single_layer import single_layer
    from edgeprune.spec.layer_costs import Family

    if CUDA in providers():
        pytest.skip("there is CUDA here")
    (tmp_path / "m.onnx").write_bytes(single_layer(Family(op="linear", height=1, width=1), 4, 4, "float")[0])
    with (
        pytest.raises(EdgepruneError, match="could not start CUDA"),
        pytest.warns(UserWarning, match="not in available"),
    ):
        open_model(tmp_path / "m.onnx", 1, provider=CUDA)
