"""Runner: a loaded model that takes a batch; and which runtime loads a bundle on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.ort import CUDA, open_model, providers
from edgeprune.engine.ort_layers import NodeTime
from edgeprune.engine.trt.offer import available, open_built
from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import Bundle, Manifest

RuntimeName = Literal["tensorrt", "cuda", "cpu"]


class Runner(Protocol):
    """What loads a model and runs batches of float32, [N, ...] to [N, ...]."""

    @property
    def runtime(self) -> str:
        """Name and version, for people."""

    @property
    def threads(self) -> int: ...

    @property
    def on_gpu(self) -> bool:
        """Whose watts and memory count."""

    @property
    def settings(self) -> dict[str, str]:
        """What the runtime was told, besides the model."""

    @property
    def simulated(self) -> bool:
        """Whether this stands in for the runtime that the bundle is made for: never report its speed."""

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...

    def layer_times(self, x: NDArray[np.float32], calls: int) -> list[NodeTime] | None:
        """Milliseconds of a call on `x` per node, by the runtime's own profiler; None where it has none."""


Open = Callable[[Path, int | None, bool], Runner]
"""From an ONNX file, the number of threads and whether sums must be exact."""


def _cpu(model: Path, threads: int | None, exact: bool) -> Runner:
    return open_model(model, threads, exact=exact)


def _cuda(model: Path, threads: int | None, exact: bool) -> Runner:
    del exact  # a matter of x86 kernels
    return open_model(model, threads, provider=CUDA)


def _tensorrt(model: Path, threads: int | None, exact: bool) -> Runner:
    del threads, exact  # an engine was built with what it needs
    return open_built(model)


@dataclass(frozen=True)
class Runtime:
    """What can load an ONNX file. `here`: whether this machine offers it."""

    open: Open
    here: Callable[[], bool]


RUNTIMES: dict[RuntimeName, Runtime] = {
    "tensorrt": Runtime(_tensorrt, available),
    "cuda": Runtime(_cuda, lambda: CUDA in providers()),
    "cpu": Runtime(_cpu, lambda: True),
}
"""The fastest first."""


def offered() -> list[RuntimeName]:
    """The runtimes of this machine, the fastest first."""
    return [name for name, runtime in RUNTIMES.items() if runtime.here()]


def choose_runtime(bundle: Bundle, asked: RuntimeName | None = None) -> RuntimeName:
    """Choose the runtime that a bundle is measured on: the one it is made for, or the one that is asked for.

    A float network that is made for TensorRT runs on ONNX Runtime's CUDA provider where there is no TensorRT. INT8
    in another runtime's dialect would be computed in float: right answers at a speed that says nothing.

    Raises:
        EdgepruneError: it is not here, or does not speak the bundle's dialect.
    """
    manifest, here = bundle.manifest, offered()
    if asked is not None and asked not in here:
        raise EdgepruneError(f"--runtime {asked} is not on this machine. It offers {', '.join(here)}.")
    if asked is not None:
        _check_dialect(bundle, asked)
        return asked
    if manifest.runtime == "onnxruntime":
        return "cpu"
    if "tensorrt" in here:
        return "tensorrt"
    if manifest.lowering == "float" and "cuda" in here:
        return "cuda"
    raise _elsewhere(bundle)


def _check_dialect(bundle: Bundle, asked: RuntimeName) -> None:
    if bundle.manifest.lowering == "tensorrt" and asked != "tensorrt":
        raise _elsewhere(bundle)
    if bundle.manifest.lowering == "onnxruntime" and asked != "cpu":
        raise EdgepruneError(
            f"{bundle.path}: its INT8 is that of ONNX Runtime's CPU kernels, which {asked} would compute in float. "
            "Leave --runtime out, or compress for a GPU's target."
        )


def _elsewhere(bundle: Bundle) -> EdgepruneError:
    other = " Or measure the float network with --runtime cpu." if bundle.manifest.lowering == "float" else ""
    return EdgepruneError(
        f"{bundle.path}: made for TensorRT; its engine is built on the device. "
        f"There is no TensorRT here: profile it on the {bundle.manifest.target}.{other}"
    )


def runtime_mismatch(manifest: Manifest, runtime: RuntimeName) -> str | None:
    """What to say of a bundle that ran on another runtime than the one it is made for."""
    if manifest.runtime == "tensorrt" and runtime != "tensorrt":
        return f"it ran on ONNX Runtime ({runtime}), not on TensorRT"
    if manifest.runtime == "onnxruntime" and runtime != "cpu":
        return f"it ran on {runtime}, not on ONNX Runtime's CPU kernels"
    return None


def open_runner(
    bundle: Bundle, threads: int | None = None, *, exact: bool = False, runtime: RuntimeName | None = None
) -> Runner:
    """Load a bundle's model.

    Without a `runtime`, on ONNX Runtime's CPU kernels: a bundle made for TensorRT then comes back simulated, its
    quantizers computed in float, which shows whether the ONNX file is right and nothing about the device's speed.
    """
    if runtime is not None:
        return RUNTIMES[runtime].open(bundle.model, threads, exact)
    if bundle.manifest.runtime == "tensorrt":
        return open_model(bundle.model, threads, exact=True, simulate=True)
    return open_model(bundle.model, threads, exact=exact)
