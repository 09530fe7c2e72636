"""Runner: a loaded model that takes a batch; which one this machine offers for a bundle."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.ort import open_model
from edgeprune.spec.bundle import Bundle


class Runner(Protocol):
    """What loads a model and runs batches of float32, [N, ...] to [N, ...]."""

    @property
    def runtime(self) -> str:
        """Name and version, for people."""

    @property
    def threads(self) -> int: ...

    @property
    def simulated(self) -> bool:
        """Whether this stands in for the runtime that the bundle is made for: never report its speed."""

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...


def open_runner(bundle: Bundle, threads: int | None = None, *, exact: bool = False) -> Runner:
    """Load a bundle's model with what this machine offers.

    A bundle made for TensorRT comes back simulated: ONNX Runtime computes its quantizers in float, which
    shows whether the ONNX file is right and nothing about the device's speed.
    """
    if bundle.manifest.runtime == "tensorrt":
        return open_model(bundle.model, threads, exact=True, simulate=True)
    return open_model(bundle.model, threads, exact=exact)
