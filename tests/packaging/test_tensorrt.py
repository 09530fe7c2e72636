"""The sources for TensorRT: compiled against its public headers, and run under sanitizers on a stand-in for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeprune.packaging.forms import Order, as_cpp, as_python
from edgeprune.spec.bundle import open_bundle
from tests.packaging import conftest as shared

TENSORRT, CUDA = "EDGEPRUNE_TEST_TENSORRT_INCLUDE", "EDGEPRUNE_TEST_CUDA_INCLUDE"
"""Folders of NvInfer.h, several with : between them, and the one of cuda_runtime_api.h."""
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-c"]
JETSON = {"target": "jetson-orin-nano", "runtime": "tensorrt"}
FAKE_TENSORRT = """\
import ctypes, numpy as np
__version__ = "10.3.0"
class Logger:
    ERROR = 1
    def __init__(self, level): pass
class Context:
    def __init__(self): self.at = {}
    def set_tensor_address(self, name, place): self.at[name] = place
    def set_input_shape(self, name, shape): self.shape = tuple(shape); return shape[0] <= 2
    def execute_async_v3(self, stream):
        self.view("output", (self.shape[0], 3))[:] = self.view("input", self.shape).sum((2, 3))
        return True
    def view(self, name, shape):
        memory = (ctypes.c_float * int(np.prod(shape))).from_address(self.at[name])
        return np.ctypeslib.as_array(memory).reshape(shape)
class Engine:
    def create_execution_context(self): return Context()
    def get_tensor_profile_shape(self, name, index): return [(1, 3, 12, 12), (1, 3, 12, 12), (2, 3, 12, 12)]
class Runtime:
    def __init__(self, logger): print("[TensorRT starts]")
    def deserialize_cuda_engine(self, plan): return Engine() if plan.startswith(b"plan") else None
"""


def test_the_source_compiles_against_public_headers(make_bundle, tmp_path: Path) -> None:
    shared.need("g++")
    places = [place for place in os.environ.get(TENSORRT, "").split(os.pathsep) if place]
    cuda = os.environ.get(CUDA, "/usr/local/cuda/include")
    if not places or not (Path(cuda) / "cuda_runtime_api.h").is_file():
        pytest.skip(f"no headers of TensorRT and CUDA: {TENSORRT} and {CUDA} may name their folders")
    as_cpp(Order(open_bundle(make_bundle()), 8), tmp_path / "cpp")
    for place in places:
        include = ["-isystem", place, "-isystem", cuda, "-I", tmp_path / "cpp/include", "-I", tmp_path / "cpp/src"]
        shared.succeed("g++", *STRICT, *include, tmp_path / "cpp/src/tensorrt.cpp", "-o", tmp_path / "tensorrt.o")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with include/ and lib/ as TensorRT's and CUDA's have them, and `classify` built against it."""
    shared.need("cmake", "g++")
    work = tmp_path_factory.mktemp("stand-in")
    shutil.copytree(shared.HERE / "stand_in", work / "include")
    (work / "lib").mkdir()
    source = work / "include/stand_in.cpp"
    shared.succeed("g++", "-std=c++17", *shared.FLAGS, "-shared", "-fPIC", source, "-o", work / "lib/libnvinfer.so")
    (work / "lib/libcudart.so").symlink_to("libnvinfer.so")
    bundle = shared.write_bundle(work / "bundle", **JETSON)
    as_cpp(Order(open_bundle(bundle), 8), work / "package")
    roots = f"-DTENSORRT_ROOT={work}", f"-DCUDA_ROOT={work}"
    wanted = "-DCMAKE_BUILD_TYPE=None", "-DEDGEPRUNE_WERROR=ON", f"-DEDGEPRUNE_SANITIZE={shared.SANITIZERS}"
    shared.succeed("cmake", "-S", work / "package", "-B", work / "build", *roots, *wanted)
    shared.succeed("cmake", "--build", work / "build")
    pixels = np.zeros((12, 12, 3), np.uint8)
    pixels[..., 1] = 255
    (work / "image.ppm").write_bytes(b"P6\n12 12\n255\n" + pixels.tobytes())
    return work


def write_plan(folder: Path, text: str, sum_of: str | None = None) -> Path:
    plan = folder / "engine.plan"
    plan.write_text(text)
    sha256 = hashlib.sha256((text if sum_of is None else sum_of).encode()).hexdigest()
    (folder / "engine.plan.sha256").write_text(f"{sha256}  engine.plan\n")
    return plan


def classify(work: Path, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = work / "bundle", work / "image.ppm", "--seconds", "0", *options
    return shared.shell(work / "build/classify", *words, **environment)


def test_a_plan_runs(stand_in: Path, tmp_path: Path) -> None:
    done = classify(stand_in, "--plan", write_plan(tmp_path, "plan input 4"))
    assert done.returncode == 0, done.stderr
    assert "TensorRT 10.3.0" in done.stdout
    assert "dog (class 1, score" in done.stdout.splitlines()[1]  # green is its channel
    timed = classify(stand_in, "--plan", tmp_path / "engine.plan", "--seconds", "0.01", "--threads", "1")
    assert "latency: p50" in timed.stdout


@pytest.mark.parametrize(
    ("plan", "sum_of", "said", "started"),
    [
        (None, None, "no plan is given", False),
        ("plan input 4", "another", "does not match its sha256", False),
        ("nonsense", None, "does not take it (the plan was built by another version)", True),
        ("plan other 4", None, "has no tensor input as the bundle describes it", True),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line(stand_in: Path, tmp_path: Path, plan, sum_of, said, started) -> None:
    given = () if plan is None else ("--plan", write_plan(tmp_path, plan, sum_of))
    done = classify(stand_in, *given)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line != "[TensorRT starts]"]
    assert len(lines) == 1
    assert said in lines[0]
    assert ("[TensorRT starts]" in done.stderr) == started  # a plan whose sum is wrong reaches no runtime


def test_a_machine_without_a_device_is_one_line(stand_in: Path, tmp_path: Path) -> None:
    done = classify(stand_in, "--plan", write_plan(tmp_path, "plan input 4"), STAND_IN_NO_DEVICE="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no CUDA device is here (no device)" in done.stderr


def test_a_batch_beyond_the_plan_is_refused(stand_in: Path, tmp_path: Path) -> None:
    program = tmp_path / "batch.cpp"
    program.write_text(
        "#include <cstdio>\n#include <edgeprune/edgeprune.hpp>\n"
        "int main(int, char** words) {\n"
        "    edgeprune::Options options;\n    options.plan = words[2];\n"
        "    edgeprune::Model model = edgeprune::Model::load(words[1], options);\n"
        "    for (const std::size_t batch : {2, 1, 3})\n"
        "        try {\n"
        "            std::vector<float> input(batch * model.manifest().input.size(), 1.0f);\n"
        '            for (float value : model.run(input).values) std::printf("%g ", static_cast<double>(value));\n'
        '        } catch (const edgeprune::Error& error) { std::printf("%s", error.what()); }\n'
        "}\n"
    )
    linked = [stand_in / "build/libedgeprune.a", stand_in / "lib/libnvinfer.so", f"-Wl,-rpath,{stand_in / 'lib'}"]
    flags = ["-std=c++17", *shared.FLAGS, "-I", stand_in / "package/include"]
    shared.succeed("g++", *flags, program, "-o", tmp_path / "batch", *linked)
    said = shared.succeed(tmp_path / "batch", stand_in / "bundle", write_plan(tmp_path, "plan input 2"))
    assert said == "144 " * 9 + "a batch of 3, and the plan takes 2 at most. Build it for more."


@pytest.fixture
def runner(make_bundle, stand_in: Path, tmp_path: Path) -> Path:
    """The Python package, a `tensorrt` that sums channels, and a libcudart that is plain memory."""
    folder = tmp_path / "python"
    as_python(Order(open_bundle(make_bundle(**JETSON)), 8), folder)
    (folder / "tensorrt.py").write_text(FAKE_TENSORRT)
    source = stand_in / "include/stand_in.cpp"
    shared.succeed("g++", "-std=c++17", "-shared", "-fPIC", source, "-o", folder / "libcudart.so")
    return folder


def run_python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    words = "sh", "-c", f'cd {folder} && python3 -c "import numpy as np; from model import Model; {code}"'
    return shared.shell(*words, LD_LIBRARY_PATH=str(folder))


def test_the_python_package_runs_a_plan(runner: Path) -> None:
    write_plan(runner, "plan")
    done = run_python(runner, "print(Model().run(np.ones((2, 3, 12, 12))).tolist())")
    assert done.stdout.splitlines()[-1] == "[[144.0, 144.0, 144.0], [144.0, 144.0, 144.0]]", done.stderr
    assert "and the plan takes 2 at most" in run_python(runner, "Model().run(np.ones((3, 3, 12, 12)))").stderr


def test_the_python_package_loads_no_other_plan(runner: Path) -> None:
    write_plan(runner, "plan", "another")
    done = run_python(runner, "Model()")
    assert "does not match its sha256" in done.stderr
    assert "[TensorRT starts]" not in done.stdout
    write_plan(runner, "nonsense")
    assert "does not take engine.plan" in run_python(runner, "Model()").stderr
