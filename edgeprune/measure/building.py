"""build_engine: look the machine over, pass the gate, and have an engine built in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.load import GET, installed
from edgeprune.engine.trt.memory import check_memory
from edgeprune.engine.trt.open_cuda import cuda_package
from edgeprune.engine.trt.plans import FOLDER
from edgeprune.engine.trt.progress_lines import follow
from edgeprune.engine.trt.release import Release, parse_release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.engine.trt.timing_cache import cache_key
from edgeprune.engine.trt.trtexec import command, find_trtexec, run_trtexec
from edgeprune.errors import EdgepruneError
from edgeprune.measure.gate import Device, gate
from edgeprune.measure.probe import probe
from edgeprune.measure.trt_request import BuildRequest
from edgeprune.progress import Tell, Tick, silent, untold
from edgeprune.spec.bundle import Bundle, open_bundle
from edgeprune.spec.engine import EngineReport
from edgeprune.spec.strict import parse
from edgeprune.spec.target import load_target

VERSION = "import tensorrt; print('TensorRT', tensorrt.__version__)"
VERSION_LIMIT_S = 120
LOG = "build.log"


@dataclass(frozen=True)
class Asked:
    """How an engine is built and measured, besides its settings."""

    seconds: float = 3.0
    streams: int = 1
    timing_cache: Path | None = None
    any_device: bool = False
    rebuild: bool = False
    compare_trtexec: bool = False


def build_engine(
    path: Path,
    settings: BuildSettings,
    asked: Asked = Asked(),
    tick: Tick = silent,
    tell: Tell = untold,
) -> EngineReport:
    """Build a bundle's engine on this device, check its answers, time it, and read it back.

    Raises:
        EdgepruneError: something is missing here, the gate refuses, or TensorRT does.
    """
    bundle = open_bundle(path)
    settings = settings.model_copy(update={"int8": bundle.manifest.precision == "int8"})
    device = look_over()
    notes = gate(bundle.manifest, load_target(bundle.manifest.target), device, settings, any_device=asked.any_device)
    for note in notes:
        tell(note)
    if asked.compare_trtexec and find_trtexec() is None:
        raise EdgepruneError("trtexec is not on this machine. Leave --compare-trtexec out, or put it on the path.")
    if asked.compare_trtexec and settings.strip_weights:
        raise EdgepruneError(
            "trtexec cannot run a plan without weights. Leave --compare-trtexec or --strip-weights out."
        )
    check_memory(bundle.model, settings.workspace_mb, device.gpu)
    report = _in_a_process(_request(bundle, settings, asked, device, notes), tick, tell)
    if not asked.compare_trtexec:
        return report
    return report.model_copy(update={"trtexec": _by_trtexec(bundle, report, settings, device.release, asked.seconds)})


def look_over() -> Device:
    """Look at this machine, as far as building is concerned.

    Raises:
        EdgepruneError: all that is missing, in one line: TensorRT, the CUDA device, the CUDA package.
    """
    gpu = first_gpu()
    missing, advice = [], []
    if not installed():
        missing.append("TensorRT is not installed for this Python")
        advice.append(f"{GET}.")
    if isinstance(gpu, str):
        missing.append(f"there is no CUDA device ({gpu})")
        advice.insert(0, "Build on the device that will run the engine, with NVIDIA's driver.")
    if missing:
        raise EdgepruneError(f"{', and '.join(missing)}. {' '.join(advice)}")
    if cuda_package() is None:
        raise EdgepruneError("neither pycuda nor cuda-bindings is installed. pip install 'edgeprune[tensorrt]'")
    assert isinstance(gpu, Gpu)
    return Device(probe(), gpu, tensorrt_version())


def tensorrt_version() -> Release:
    """Ask a process of its own, since importing takes seconds and TensorRT may crash.

    Raises:
        EdgepruneError: it cannot be imported, or is not a supported release.
    """
    call = [sys.executable, "-c", VERSION]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgepruneError(f"tensorrt takes longer than {VERSION_LIMIT_S} s to load. End other programs.") from None
    words = done.stdout.split()
    if done.returncode or words[:1] != ["TensorRT"]:
        said = done.stderr.strip().splitlines()
        raise EdgepruneError(f"tensorrt cannot be loaded ({said[-1] if said else 'it says nothing'}). {GET}.")
    return parse_release(words[1])


def default_cache(key: dict[str, str]) -> Path:
    """One timing cache for each release, device and power mode of this machine, for all bundles."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "-".join(key.values()).lower()
    return home / "edgeprune" / f"timing-{''.join(c if c.isalnum() or c in '.-' else '-' for c in name)}.cache"


def _request(bundle: Bundle, settings: BuildSettings, asked: Asked, device: Device, notes: list[str]) -> BuildRequest:
    folder = bundle.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EdgepruneError(
            f"{folder}: cannot be made ({error.strerror}). Copy the bundle to your own folder."
        ) from None
    return BuildRequest(
        bundle=str(bundle.path),
        settings=settings,
        timing_cache=str(asked.timing_cache or default_cache(cache_key(device.release, device.gpu))),
        log=str(folder / LOG),
        seconds=asked.seconds,
        streams=asked.streams,
        rebuild=asked.rebuild,
        notes=notes,
    )


def _in_a_process(request: BuildRequest, tick: Tick, tell: Tell) -> EngineReport:
    with tempfile.TemporaryDirectory() as folder:
        file, errors = Path(folder) / "request.json", Path(folder) / "stderr"
        file.write_text(request.model_dump_json(), encoding="utf-8")
        with errors.open("w", encoding="utf-8") as stream:
            said, code = _followed(
                [sys.executable, "-m", "edgeprune.measure.trt_worker", str(file)], stream, tick, tell
            )
        if said is None:
            raise EdgepruneError(f"{_ending(code, errors)}. Its log is {request.log}.")
    if "fault" in said:
        raise EdgepruneError(said["fault"])
    return parse(EngineReport, said["answer"], "the building process")


def _followed(call: list[str], errors: Any, tick: Tick, tell: Tell) -> tuple[dict[str, Any] | None, int]:
    """Run a worker to its end; it is ended with us."""
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=errors, text=True)
    said: dict[str, Any] | None = None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said = follow(line, tick, tell) or said
        return said, process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _ending(code: int, errors: Path) -> str:
    if code < 0:
        return f"the process that builds was ended by signal {-code}; out of memory, or a fault of TensorRT"
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the process that builds failed ({lines[-1] if lines else f'exit code {code}'})"


def _by_trtexec(bundle: Bundle, report: EngineReport, settings: BuildSettings, release: Release, seconds: float) -> Any:
    tool = find_trtexec()
    assert tool is not None
    tensor, batch = bundle.manifest.input, settings.batch.best
    shape = None if settings.batch.fixed else (tensor.name, (batch, *tensor.shape))
    graph = report.times.cuda_graph
    with tempfile.TemporaryDirectory() as folder:
        call = command(tool, Path(report.plan), release, shape, seconds, graph)
        return run_trtexec(call, Path(folder) / "times.json", seconds, batch, graph)
