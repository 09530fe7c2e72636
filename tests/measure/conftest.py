"""Bundles small enough to build in a test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.spec.bundle import GOLDEN, LABELS, MODEL, Manifest, file_sum, write_manifest

onnx = pytest.importorskip("onnx")


def _save_linear(path: Path, weight: np.ndarray, channels: int = 2) -> None:
    """Write an ONNX file of flatten(x) @ weight for x of [N, channels, 3, 3]."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(path))


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a sound bundle; keywords replace fields of its manifest."""

    def make(name: str = "bundle", golden_error: float = 0.0, channels: int = 2, **fields: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        weight = rng.normal(size=(9 * channels, 4)).astype(np.float32)
        x = rng.normal(size=(3, channels, 3, 3)).astype(np.float32)
        y = x.reshape(3, -1) @ weight * (1 + golden_error)
        _save_linear(folder / MODEL, weight, channels)
        np.save(folder / "weight.npy", weight)
        np.savez(folder / GOLDEN, input=x, output=y.astype(np.float32))
        (folder / LABELS).write_text("a\nb\nc\nd\n", encoding="utf-8")
        plain: dict[str, Any] = {
            "schema": 1,
            "name": "linear",
            "created": "2026-01-01T00:00:00+00:00",
            "edgeprune_version": "0.1.0",
            "target": "cpu-x86-avx2",
            "runtime": "onnxruntime",
            "precision": "int8",
            "lowering": "onnxruntime",
            "weight_bits": 7,
            "input": {"name": "x", "shape": (channels, 3, 3)},
            "output": {"name": "y", "shape": (4,)},
            "preprocessing": {
                "channels": "any",
                "resize_shorter_to": 3,
                "crop": 3,
                "mean": (0.0, 0.0),
                "std": (1.0, 1.0),
            },
            "golden": {"count": 3, "tolerance": 1e-3},
            "macs": 72,
            "params": 72,
            "int8_macs_share": 1.0,
            "int8_macs_measured_with": "ONNX Runtime 1.23.2",
            "accuracy": 0.9,
            "accuracy_se": 0.01,
            "recipe": {},
            "files": {file: file_sum(folder / file).model_dump() for file in (MODEL, GOLDEN, LABELS)},
        }
        write_manifest(folder, Manifest.model_validate(plain | fields))
        return folder

    return make


@pytest.fixture
def sha256() -> Callable[[Path], str]:
    """Return the obvious way to hash a file."""
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
