"""Triton's and DeepStream's packages, read by parsers that know the documented keys and no others."""

from __future__ import annotations

import configparser
import string
from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.raw_pixels import with_raw_pixels
from edgeprune.packaging.forms import Order, as_deepstream, as_triton
from edgeprune.spec.bundle import open_bundle
from tests.packaging import triton_config

JETSON = {"target": "jetson-orin-nano", "runtime": "tensorrt"}

DEEPSTREAM = {
    "gpu-id": range(8), "gie-unique-id": range(1, 1 << 31), "process-mode": (1, 2), "network-type": (0, 1, 2, 3, 100),
    "network-mode": (0, 1, 2, 3), "batch-size": range(1, 1025), "model-color-format": (0, 1, 2),
    "maintain-aspect-ratio": (0, 1), "scaling-filter": range(7), "net-scale-factor": float,
    "classifier-threshold": float, "infer-dims": list, "output-blob-names": list, "labelfile-path": Path,
    "model-engine-file": Path, "onnx-file": Path,
}  # fmt: skip
"""Keys of [property] and what they take: DeepStream Developer Guide, "Gst-nvinfer", its tables of properties."""


def read_deepstream(path: Path) -> dict[str, str]:
    """Read an nvinfer configuration strictly: GLib's key files, as `configparser` reads them."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=True)
    parser.read_string(path.read_text(encoding="utf-8"))
    assert parser.sections() == ["property"]
    found = dict(parser["property"])
    for key, value in found.items():
        takes = DEEPSTREAM[key]
        if takes is float:
            float(value)
        elif takes is list:
            assert value
            assert "" not in value.split(";")
        elif takes is not Path:
            assert int(value) in takes, f"{key}={value}"
    return found


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_configuration_of_deepstream(make_bundle, tmp_path: Path, precision: str) -> None:
    bundle = open_bundle(make_bundle(**JETSON, precision=precision))
    as_deepstream(Order(bundle, 4, with_raw_pixels), tmp_path / "package")
    found = read_deepstream(tmp_path / "package/config_infer.txt")
    assert found["infer-dims"] == "3;12;12"
    assert found["batch-size"] == "4"
    assert found["network-mode"] == {"fp32": "0", "int8": "1"}[precision]
    # A plan alone where nvinfer would build another network than the bundle's.
    assert ("onnx-file" in found) == (precision == "fp32")
    labels = (tmp_path / "package" / found["labelfile-path"]).read_text()
    assert labels.strip().split(";") == bundle.labels
    script = (tmp_path / "package/build_engine.sh").read_text()
    assert "--onnx=raw_pixels.onnx" in script
    assert "--maxShapes=pixels:4x3x12x12" in script
    assert found["model-engine-file"] == "engine.plan"


def test_the_network_of_raw_pixels_is_the_bundles(make_bundle, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    bundle = open_bundle(make_bundle(**JETSON))
    as_deepstream(Order(bundle, 4, with_raw_pixels), tmp_path / "package")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 12, 12)).astype(np.float32)
    wanted = bundle.manifest.preprocessing
    mean, std = (np.array(part, np.float32).reshape(-1, 1, 1) for part in (wanted.mean, wanted.std))
    cpu = ["CPUExecutionProvider"]
    raw = ort.InferenceSession(tmp_path / "package/raw_pixels.onnx", providers=cpu)
    (found,) = raw.run(["probabilities"], {"pixels": pixels})
    (scores,) = ort.InferenceSession(bundle.model, providers=cpu).run(None, {"input": (pixels / 255 - mean) / std})
    powers = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "made for ONNX Runtime"),
        (JETSON | {"labels": ("a;b", "c", "d")}, "semicolon"),
        (JETSON | {"labels": ("a", "b"), "output": {"name": "output", "shape": (3,)}}, "no classifier"),
    ],
)
def test_what_deepstream_cannot_run_is_refused(make_bundle, tmp_path: Path, fields, said: str) -> None:
    with pytest.raises(EdgepruneError, match=said):
        as_deepstream(Order(open_bundle(make_bundle(**fields)), 4, with_raw_pixels), tmp_path / "package")


@pytest.mark.parametrize("batch", [1, 16])
def test_a_repository_of_triton_for_a_cpu(make_bundle, tmp_path: Path, batch: int) -> None:
    bundle = open_bundle(make_bundle())
    as_triton(Order(bundle, batch), tmp_path / "package")
    (model,) = (tmp_path / "package/onnxruntime").iterdir()
    config = triton_config.read((model / "config.pbtxt").read_text())
    assert (config.name, config.platform, config.max_batch_size) == (model.name, "onnxruntime_onnx", batch)
    assert [list(tensor.dims) for tensor in (*config.input, *config.output)] == [[3, 12, 12], [3]]
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["input", "output"]
    assert config.HasField("dynamic_batching") == (batch > 1)
    assert (model / config.output[0].label_filename).read_text() == "cat\ndog\nowl\n"
    assert (model / "1/model.onnx").read_bytes() == bundle.model.read_bytes()
    assert not config.HasField("optimization")
    assert not (tmp_path / "package/tensorrt").exists()


def test_repositories_of_triton_for_a_gpu(make_bundle, tmp_path: Path) -> None:
    as_triton(Order(open_bundle(make_bundle(**JETSON)), 8), tmp_path / "package")
    configs = {
        form: triton_config.read((tmp_path / "package" / form / "net/config.pbtxt").read_text())
        for form in ("onnxruntime", "tensorrt")
    }
    assert [config.platform for config in configs.values()] == ["onnxruntime_onnx", "tensorrt_plan"]
    (accelerator,) = configs["onnxruntime"].optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert not list((tmp_path / "package/tensorrt").rglob("*.onnx"))
    assert "tensorrt/net/1/model.plan" in (tmp_path / "package/README.md").read_text()


def test_names_come_out_of_a_configuration_as_they_went_in(make_bundle, tmp_path: Path) -> None:
    odd = "".join(c for c in string.printable if c.isprintable()) + "é中"
    bundle = make_bundle(**JETSON, input={"name": odd, "shape": (3, 12, 12)})
    as_triton(Order(open_bundle(bundle), 8), tmp_path / "package")
    config = triton_config.read((tmp_path / "package/tensorrt/net/config.pbtxt").read_text(encoding="utf-8"))
    assert config.input[0].name == odd


def test_the_reader_of_configurations_knows_wrong_from_right() -> None:
    from google.protobuf.text_format import ParseError

    for wrong in ("max_batch: 1", "input { data_type: TYPE_FLOAT }", "name: x", "instance_group { kind: GPU }"):
        with pytest.raises(ParseError):
            triton_config.read(wrong)
