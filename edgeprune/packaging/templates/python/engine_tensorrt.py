"""TensorRT 8.5 to 11, through its Python module and libcudart; it runs the plan that build_engine.sh made here."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

TO_DEVICE, TO_HOST = 1, 2


class Engine:
    """A loaded network."""

    def __init__(self, manifest: dict[str, Any], model: bytes, threads: int | None, folder: Path):
        del model, threads
        self._cuda = _cuda()  # before TensorRT, whose runtime crashes at the end where there is no device
        plan = (folder / "engine.plan").read_bytes()
        if hashlib.sha256(plan).hexdigest() != (folder / "engine.plan.sha256").read_text(encoding="utf-8").split()[0]:
            raise ValueError(f"{folder / 'engine.plan'}: does not match its sha256. Run build_engine.sh again.")
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ValueError(f"TensorRT {trt.__version__} does not take engine.plan. Run build_engine.sh again.")
        self._context = self._engine.create_execution_context()
        self._input, self._output = manifest["input"]["name"], manifest["output"]["name"]
        self._shape = tuple(manifest["output"]["shape"])
        self._most = int(self._engine.get_tensor_profile_shape(self._input, 0)[2][0])
        sizes = [4 * self._most * int(np.prod(manifest[key]["shape"])) for key in ("input", "output")]
        self._memory = [self._allocate(size) for size in sizes]
        self._stream = ctypes.c_void_p()
        self._check(self._cuda.cudaStreamCreate(ctypes.byref(self._stream)))
        for name, memory in zip((self._input, self._output), self._memory):
            self._context.set_tensor_address(name, memory.value)

    def run(self, x: np.ndarray) -> np.ndarray:
        if len(x) > self._most:
            raise ValueError(f"a batch of {len(x)}, and the plan takes {self._most} at most. Build it for more.")
        out = np.empty((len(x), *self._shape), np.float32)
        self._context.set_input_shape(self._input, x.shape)
        self._copy(self._memory[0], x.ctypes, x.nbytes, TO_DEVICE)
        if not self._context.execute_async_v3(self._stream.value):
            raise ValueError("TensorRT does not run the plan.")
        self._copy(out.ctypes, self._memory[1], out.nbytes, TO_HOST)
        self._check(self._cuda.cudaStreamSynchronize(self._stream))
        return out

    def _allocate(self, size: int) -> ctypes.c_void_p:
        memory = ctypes.c_void_p()
        self._check(self._cuda.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(size)))
        return memory

    def _copy(self, to: Any, source: Any, size: int, direction: int) -> None:
        places = [ctypes.cast(place, ctypes.c_void_p) for place in (to, source)]
        self._check(self._cuda.cudaMemcpyAsync(*places, ctypes.c_size_t(size), direction, self._stream))

    @staticmethod
    def _check(status: int) -> None:
        if status != 0:
            raise ValueError(f"CUDA reports error {status}.")


def _cuda() -> ctypes.CDLL:
    for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int()
        if library.cudaGetDeviceCount(ctypes.byref(count)) != 0 or count.value == 0:
            raise ValueError("no CUDA device is here. Run on the device, or see nvidia-smi.")
        return library
    raise ValueError("libcudart is not found. Install CUDA, or add its folder to LD_LIBRARY_PATH.")
