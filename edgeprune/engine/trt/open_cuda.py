"""CUDA over pycuda where it is installed, else over cuda-bindings."""

from __future__ import annotations

import importlib.util

from edgeprune.engine.trt.cuda import Cuda
from edgeprune.errors import EdgepruneError


def open_cuda() -> Cuda:
    """Take the first device.

    Raises:
        EdgepruneError: neither package is here, or the one that is cannot reach the device.
    """
    package = cuda_package()
    if package is None:
        raise EdgepruneError("neither pycuda nor cuda-bindings is installed. pip install 'edgeprune[tensorrt]'")
    try:
        if package == "pycuda":
            from edgeprune.engine.trt.cuda_pycuda import PyCuda

            return PyCuda()
        from edgeprune.engine.trt.cuda_bindings import CudaBindings

        return CudaBindings()
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise EdgepruneError(f"{package} cannot reach the GPU ({reason}). Install the one for this driver.") from error


def cuda_package() -> str | None:
    """Which of the two is installed; pycuda goes first."""
    if importlib.util.find_spec("pycuda"):
        return "pycuda"
    try:
        return "cuda-bindings" if importlib.util.find_spec("cuda.bindings.driver") else None
    except ModuleNotFoundError:
        return None
