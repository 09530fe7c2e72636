"""ONNX Runtime on the CPU: the runtime of the CPU targets, and the reference that every machine can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.cores import physical_cores
from edgeprune.errors import EdgepruneError

ERRORS_ONLY = 3


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

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run a batch, [N, ...] to [N, ...]."""
        return cast("NDArray[np.float32]", self.session.run([self.output], {self.input: x})[0])


def open_model(path: Path, threads: int | None = None, *, exact: bool = False, simulate: bool = False) -> OrtRunner:
    """Load an ONNX file.

    Args:
        path: the file.
        threads: None takes one per physical core that this process may use.
        exact: set `session.x64quantprecision`, which costs speed and is needed only where x86 lacks VNNI.
        simulate: run Q/DQ nodes one by one as they stand, unfused; for models made for another runtime.

    Raises:
        EdgepruneError: ONNX Runtime is missing, or does not take the file.
    """
    threads = threads or physical_cores()
    session = load_session(path, threads, exact=exact, simulate=simulate)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise EdgepruneError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed.")
    runtime = f"ONNX Runtime {_onnxruntime().__version__} (CPU)"
    return OrtRunner(session, inputs[0].name, outputs[0].name, runtime, threads, exact, simulate)


def load_session(
    path: Path, threads: int, *, exact: bool = False, simulate: bool = False, profile: str | None = None
) -> Any:
    """Load an ONNX file, as `open_model` does; `profile`: how the file of the runtime's own profiler begins.

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
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        reason = " ".join(str(error).split())
        raise EdgepruneError(f"{path}: ONNX Runtime {ort.__version__} does not take it ({reason}).") from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise EdgepruneError("onnxruntime is not installed. pip install 'edgeprune[cpu]'") from None
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise EdgepruneError(f"onnxruntime cannot be loaded ({reason}). Install it again.") from error
    return onnxruntime
