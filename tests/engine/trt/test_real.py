"""(b) NVIDIA's own bindings: TensorRT's on a stub of its nine symbols, CUDA's on a driver of host memory.

And (c) real TensorRT 8.5.3.1 without a GPU. Both need files that are not in the repository, and are marked `trt`:

- EDGEPRUNE_TRT_WHEELS: a folder with wheels of tensorrt-cu12-bindings or tensorrt-cu13-bindings for this Python
  (pip download --no-deps), of cuda-bindings 12 and 13, and of cuda-pathfinder;
- EDGEPRUNE_TRT85: a folder with `site/tensorrt` of the wheel tensorrt 8.5.3.1, stubs of cuBLAS 11, cuBLASLt 11 and
  cuDNN 8 in `stubs/`, and a Python 3.10 with edgeprune's base requirements and protobuf as `python/bin/python3.10`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.engine.trt.conftest import HERE, ROOT

pytestmark = pytest.mark.trt
WHEELS = Path(os.environ.get("EDGEPRUNE_TRT_WHEELS", ""))
TRT85 = Path(os.environ.get("EDGEPRUNE_TRT85", ""))
API = json.loads((HERE / "tensorrt_api.json").read_text(encoding="utf-8"))
TENSORRT = "tensorrt_cu*_bindings"
NULL = "void* {name}(void){{return 0;}}"
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
CHECK = """
import json, sys
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
members = {n: [m for m in dir(getattr(trt, n)) if not m.startswith("_")] for n in json.loads(sys.argv[1])}
enums = {n: {k: int(v) for k, v in getattr(trt, n).__members__.items()} for n in json.loads(sys.argv[2])}
from edgeprune.engine.trt.build import make_builder, network_flags
from edgeprune.engine.trt.log import logger_for, open_log
from edgeprune.engine.trt.monitor import monitor_for
from edgeprune.engine.trt.release import parse_release
from edgeprune.errors import EdgepruneError
log, ticks = open_log(), []
logger = logger_for(trt, log)
logger.log(trt.ILogger.INFO, "told")
monitor = monitor_for(trt, lambda *tick: ticks.append(tick))
if monitor is not None:
    monitor.phase_start("Building", None, 2)
    assert monitor.step_complete("Building", 0) is True
    monitor.phase_finish("Building")
try:
    make_builder(trt, logger)
except EdgepruneError as error:
    fault = str(error)
assert callable(trt.init_libnvinfer_plugins)
flags = network_flags(trt, parse_release(trt.__version__))
print(json.dumps([trt.__version__, members, enums, fault, log.lines, ticks, flags]))
"""


def _wheels(name: str) -> list[Path]:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-"
    return sorted(path for path in WHEELS.glob(f"{name}-*.whl") if tag in path.name)


def test_three_releases_are_at_hand() -> None:
    needed = "EDGEPRUNE_TRT_WHEELS must name a folder with the bindings of three releases, and of CUDA 12 and 13"
    assert len(_wheels(TENSORRT)) >= 3, needed
    assert {path.name[:16] for path in _wheels("cuda_bindings")} >= {"cuda_bindings-12", "cuda_bindings-13"}, needed


@pytest.mark.parametrize("wheel", _wheels(TENSORRT), ids=lambda path: path.name.split("-")[1])
def test_real_bindings_have_the_names_and_take_our_subclasses(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    version = wheel.name.split("-")[1]
    source = tmp_path / "stub.c"
    source.write_text("\n".join(NULL.format(name=name) for name in SYMBOLS), encoding="utf-8")
    for library in LIBRARIES:
        name = f"lib{library}.so.{version.split('.')[0]}"
        call = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(tmp_path / name), str(source)]
        subprocess.run(call, check=True)
    wanted = API[version]
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    call = [sys.executable, "-c", CHECK, json.dumps([*wanted["classes"]]), json.dumps([*wanted["enums"]])]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, members, enums, fault, lines, ticks, flags = json.loads(done.stdout.splitlines()[-1])
    assert found == version
    assert members == wanted["classes"]  # so the table that the fake obeys is the real one
    assert enums == wanted["enums"]
    assert "finds no CUDA device" in fault
    assert ["INFO", "told"] in lines
    assert ticks[-1] == ["TensorRT: Building", 2, 2]
    strong = wanted["enums"]["NetworkDefinitionCreationFlag"].get("STRONGLY_TYPED")
    typed = tuple(map(int, version.split(".")[:2])) >= (10, 12)
    assert flags == (1 << strong if typed and strong is not None else 0)


@pytest.mark.parametrize("wheel", _wheels("cuda_bindings"), ids=lambda path: path.name.split("-")[1])
def test_real_cuda_bindings_take_and_answer_what_is_written(wheel: Path, tmp_path: Path) -> None:
    """On a driver of host memory that is written in C; what has no 13 in its name meets the driver of JetPack 6."""
    for path in (wheel, *WHEELS.glob("cuda_pathfinder-*.whl")):  # bindings from 13.1 on, and 12.9.5, need the second
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
    driver = 13000 if "-13" in wheel.name else 12060
    call = ["cc", "-shared", "-fPIC", f"-DVERSION={driver}", "-Wl,-soname,libcuda.so.1"]
    source = str(HERE / "fake" / "libcuda.c")
    subprocess.run([*call, "-o", str(tmp_path / "libcuda.so.1"), source, "-ldl"], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    script = [sys.executable, str(HERE / "cuda_calls.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cuda-bindings {driver // 1000}.{driver % 1000 // 10}\n"


def _on_85(*arguments: str) -> subprocess.CompletedProcess[str]:
    libraries = [str(TRT85 / "stubs"), str(TRT85 / "site" / "tensorrt"), str(TRT85 / "python" / "lib")]
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TRT85 / "site")]),
    }
    python = str(TRT85 / "python" / "bin" / "python3.10")
    return subprocess.run([python, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_real_tensorrt_85_without_a_device_is_one_line(bundle: Path) -> None:
    done = _on_85("-m", "edgeprune", "build", str(bundle))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "there is no CUDA device" in line
    assert "TensorRT is not installed" not in line


def test_real_tensorrt_85_refuses_a_builder_as_we_say(bundle: Path) -> None:
    code = (
        "import sys, tensorrt as trt\n"
        "from pathlib import Path\n"
        "from edgeprune.engine.trt.build import make_builder, prepare_onnx\n"
        "from edgeprune.engine.trt.log import logger_for, open_log\n"
        "from edgeprune.engine.trt.release import parse_release\n"
        "from edgeprune.engine.trt.settings import BuildSettings\n"
        "from edgeprune.errors import EdgepruneError\n"
        "release = parse_release(trt.__version__)\n"
        "print(release, len(prepare_onnx(Path(sys.argv[1]), release, BuildSettings())) > 0)\n"
        "log = open_log()\n"
        "logger = logger_for(trt, log)\n"
        "try: make_builder(trt, logger)\n"
        "except EdgepruneError as error: print(error)\n"
        "print([text for severity, text in log.lines if 'CUDA initialization' in text])\n"
    )
    done = _on_85("-c", code, str(bundle / "model.onnx"))
    assert done.returncode == 0, done.stderr
    release, fault, told = done.stdout.splitlines()
    assert release == "8.5.3.1 True"
    assert "finds no CUDA device" in fault
    assert "CUDA initialization failure" in told
