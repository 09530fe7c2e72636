"""ONNX Runtime: on the CPU the runtime of the CPU targets, and the reference that every machine can run; on CUDA."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.cores import physical_cores, usable_cpus
from edgeprune.engine.ort_layers import NodeTime, node_times
from edgeprune.errors import EdgepruneError

ERRORS_ONLY = 3
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
WORDS = {CPU: "CPU", CUDA: "CUDA"}


@dataclass(frozen=True)
class OrtRunner:
    """A loaded ONNX model with one input and one output."""

    session: Any
    input: str
    output: str
    runtime: str
    threads: int
    exact: bool
    """U8S8 products are summed without 16-bit saturation, also where the CPU has no VNNI."""
    simulated: bool
    """The model speaks another runtime's dialect: its answers count, its speed says nothing."""
    path: Path = Path()
    provider: str = CPU
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return self.provider == CUDA

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run a batch, [N, ...] to [N, ...]."""
        return cast("NDArray[np.float32]", self.session.run([self.output], {self.input: x})[0])

    def layer_times(self, x: NDArray[np.float32], calls: int) -> list[NodeTime]:
        """Milliseconds of a call per node, by ONNX Runtime's own profiler, in a session of its own."""

        def load(profile: str) -> Any:
            options = {"exact": self.exact, "simulate": self.simulated, "provider": self.provider}
            return load_session(self.path, self.threads, profile=profile, **options)  # type: ignore[arg-type]

        return node_times(load, x, calls)


def open_model(
    path: Path, threads: int | None = None, *, exact: bool = False, simulate: bool = False, provider: str = CPU
) -> OrtRunner:
    """Load an ONNX file.

    Args:
        path: the file.
        threads: None takes one per physical core that this process may use.
        exact: set `session.x64quantprecision`, which costs speed and is needed only where x86 lacks VNNI.
        simulate: run Q/DQ nodes one by one as they stand, unfused; for models made for another runtime.
        provider: what executes the nodes; inputs and outputs stay in the host's memory, so their copies count.

    Raises:
        EdgepruneError: ONNX Runtime is missing, or does not take the file.
    """
    threads = threads or physical_cores()
    session = load_session(path, threads, exact=exact, simulate=simulate, provider=provider)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise EdgepruneError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed.")
    if provider not in session.get_providers():
        raise EdgepruneError(
            f"{path}: ONNX Runtime could not start {WORDS[provider]} and fell back to the CPU. "
            "Check the driver, and that onnxruntime-gpu fits the installed CUDA and cuDNN."
        )
    runtime = f"ONNX Runtime {_onnxruntime().__version__} ({WORDS[provider]})"
    names = (inputs[0].name, outputs[0].name)
    return OrtRunner(
        session, *names, runtime, threads, exact, simulate, path, provider, _settings(session, threads, exact)
    )


def providers() -> list[str]:
    """What this installation of ONNX Runtime can execute on; nothing where it is missing."""
    try:
        return [str(name) for name in _onnxruntime().get_available_providers()]
    except EdgepruneError:
        return []


def _settings(session: Any, threads: int, exact: bool) -> dict[str, str]:
    """What decides speed and memory besides the model, as the session has it."""
    options = session.get_session_options()
    return {
        "intra_op_num_threads": str(threads),
        "inter_op_num_threads": str(options.inter_op_num_threads),
        "execution_mode": str(options.execution_mode).rpartition(".")[2],
        "graph_optimization_level": str(options.graph_optimization_level).rpartition(".")[2],
        "enable_cpu_mem_arena": str(options.enable_cpu_mem_arena),
        "enable_mem_pattern": str(options.enable_mem_pattern),
        "session.x64quantprecision": "1" if exact else "0",
        "affinity": ",".join(map(str, usable_cpus())),
    }


def load_session(
    path: Path | bytes,
    threads: int,
    *,
    exact: bool = False,
    simulate: bool = False,
    provider: str = CPU,
    profile: str | None = None,
) -> Any:
    """Load an ONNX file or its bytes, as `open_model` does; `profile`: how the profiler's own file begins.

    Raises:
        EdgepruneError: ONNX Runtime is missing, or does not take the file.
    """
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if simulate:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        source = path if isinstance(path, bytes) else str(path)
        return ort.InferenceSession(source, options, providers=list(dict.fromkeys([provider, CPU])))
    except Exception as error:  # its exceptions share no class of their own
        reason = " ".join(str(error).split())
        name = "a layer" if isinstance(path, bytes) else path
        raise EdgepruneError(f"{name}: ONNX Runtime {ort.__version__} does not take it ({reason}).") from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise EdgepruneError("onnxruntime is not installed. pip install 'edgeprune[cpu]'") from None
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise EdgepruneError(f"onnxruntime cannot be loaded ({reason}). Install it again.") from error
    return onnxruntime
