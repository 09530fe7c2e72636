"""Small bundles of images, and the C++ loader built with sanitizers against ONNX Runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.packaging.forms import Order, as_cpp
from edgeprune.packaging.write import package_bundle
from edgeprune.spec.bundle import GOLDEN, LABELS, MODEL, Manifest, file_sum, open_bundle, write_manifest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HERE = Path(__file__).parent
HEADERS = "EDGEPRUNE_TEST_ONNXRUNTIME_INCLUDE"
"""Names the folder of onnxruntime_cxx_api.h; the library is that of the installed onnxruntime."""
SANITIZERS = "address,undefined"
FLAGS = ["-Wall", "-Wextra", "-Werror", "-g", f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all"]
CALM = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1", "OMP_NUM_THREADS": "1"}


def network(channels: int, classes: int) -> bytes:
    """ONNX of a convolution, a mean and a linear layer, on [n, channels, 12, 12]."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.normal(size=(8, channels, 3, 3)),
        "v": rng.normal(size=(8, classes)),
        "b": rng.normal(size=classes),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["conv"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["conv"], ["relu"]),
            helper.make_node("GlobalAveragePool", ["relu"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "v", "b"], ["output"]),
        ],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, 12, 12])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


def write_bundle(
    folder: Path, channels: str = "RGB", labels: Sequence[str] = ("cat", "dog", "owl"), **fields: Any
) -> Path:
    """Write a bundle for images; `fields` replace those of the manifest."""
    planes = 3 if channels == "RGB" else 1
    model = network(planes, len(labels))
    x = np.random.default_rng(1).normal(size=(4, planes, 12, 12)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    folder.mkdir(parents=True)
    (folder / MODEL).write_bytes(model)
    np.savez(folder / GOLDEN, input=x, output=session.run(None, {"input": x})[0])
    (folder / LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    plain: dict[str, Any] = {
        "schema": 1,
        "name": "net",
        "created": "2026-01-01T00:00:00+00:00",
        "edgeprune_version": "0.1.0",
        "target": "cpu-x86-avx2",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "lowering": "float",
        "weight_bits": 8,
        "input": {"name": "input", "shape": (planes, 12, 12)},
        "output": {"name": "output", "shape": (len(labels),)},
        "preprocessing": {
            "channels": channels,
            "resize_shorter_to": 14,
            "crop": 12,
            "mean": (0.485, 0.456, 0.406)[:planes],
            "std": (0.229, 0.224, 0.225)[:planes],
        },
        "golden": {"count": 4, "tolerance": 1e-3},
        "macs": 1,
        "params": 1,
        "int8_macs_share": None,
        "int8_macs_measured_with": None,
        "accuracy": None,
        "accuracy_se": None,
        "recipe": {},
        "files": {name: file_sum(folder / name).model_dump() for name in (MODEL, GOLDEN, LABELS)},
    }
    write_manifest(folder, Manifest.model_validate(plain | fields))
    return folder


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bundle below the test's folder."""
    return lambda folder="bundle", **fields: write_bundle(tmp_path / folder, **fields)


def include_folder() -> Path:
    """The headers of ONNX Runtime, or skip."""
    places = [os.environ.get(HEADERS, ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
    for place in places:
        if place and (Path(place) / "onnxruntime_cxx_api.h").is_file():
            return Path(place)
    pytest.skip(f"no headers of ONNX Runtime: {HEADERS} may name their folder")


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def shell(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it left."""
    words = [str(word) for word in command]
    return subprocess.run(words, env=os.environ | CALM | environment, capture_output=True, text=True, check=False)


def succeed(*command: object) -> str:
    done = shell(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_key(folder: Path, name: str) -> Path:
    need("ssh-keygen")
    succeed("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
    return folder / name


def allow(file: Path, principal: str, key: Path, options: str = "") -> Path:
    """Add a line to a file of allowed signers."""
    public = key.with_suffix(".pub").read_text().split()[:2]
    with file.open("a", encoding="utf-8") as stream:
        stream.write(" ".join([principal, *options.split(), *public]) + "\n")
    return file


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys `ours` and `theirs`, and a file of signers that holds `ours` alone."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder, "theirs")
    allow(folder / "signers", "maker@example.org", make_key(folder, "ours"))
    return folder


@pytest.fixture
def signed(make_bundle, tmp_path: Path, keys: Path) -> Path:
    """A signed bundle, as a package."""
    return package_bundle(Order(open_bundle(make_bundle()), 8), "bundle", tmp_path / "signed", keys / "ours")


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sanitized `classify`, `driver` and `abi`, built with every warning as an error."""
    include = include_folder()
    need("cmake", "g++", "gcc")
    work = tmp_path_factory.mktemp("native")
    root = work / "onnxruntime"
    (root / "lib").mkdir(parents=True)
    (root / "include").symlink_to(include)
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (root / "lib" / name).symlink_to(library)
    as_cpp(Order(open_bundle(write_bundle(work / "bundle")), 8), work / "package")
    wanted = f"-DONNXRUNTIME_ROOT={root}", "-DEDGEPRUNE_WERROR=ON", f"-DEDGEPRUNE_SANITIZE={SANITIZERS}"
    # -O1: half the time of -O2 to compile, and still what finds values that are used before they are set.
    kind = "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1"
    succeed("cmake", "-S", work / "package", "-B", work / "build", *kind, *wanted)
    succeed("cmake", "--build", work / "build")
    includes = ["-I", work / "package/include", "-I", work / "package/src"]
    libraries = [work / "build/libedgeprune.a", root / "lib/libonnxruntime.so", f"-Wl,-rpath,{root / 'lib'}"]
    succeed("g++", "-std=c++17", *FLAGS, *includes, HERE / "driver.cpp", "-o", work / "driver", *libraries)
    succeed("gcc", "-std=c11", "-pedantic", *FLAGS, *includes, "-c", HERE / "abi.c", "-o", work / "abi.o")
    succeed("g++", *FLAGS, work / "abi.o", "-o", work / "abi", *libraries)
    shutil.copy(work / "build/classify", work / "classify")
    return work
