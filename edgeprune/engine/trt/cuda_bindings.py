"""CUDA over NVIDIA's cuda-bindings, by the driver's interface."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from cuda.bindings import driver
from numpy.typing import NDArray

from edgeprune.engine.trt.cuda import Launch, Stream


@dataclass
class CudaBindings:
    """The first device's primary context, which TensorRT uses too."""

    package: str = "cuda-bindings"
    context: Any = None
    addresses: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    """Of pinned memory."""

    def __post_init__(self) -> None:
        _done(driver.cuInit(0))
        self.device = _done(driver.cuDeviceGet(0))
        self.context = _done(driver.cuDevicePrimaryCtxRetain(self.device))
        _done(driver.cuCtxSetCurrent(self.context))

    def allocate(self, count: int) -> int:
        address = int(_done(driver.cuMemAlloc(count)))
        self.addresses.append(address)
        return address

    def pinned(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        count = int(np.prod(shape)) * dtype.itemsize
        page = int(_done(driver.cuMemHostAlloc(max(count, 1), 0)))
        self.pages.append(page)
        view = memoryview((ctypes.c_byte * count).from_address(page)).cast("B")
        return np.frombuffer(view, dtype=dtype).reshape(tuple(shape))

    def copy_in(self, address: int, array: NDArray[Any], stream: Stream) -> None:
        _done(driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, stream.own))

    def copy_out(self, array: NDArray[Any], address: int, stream: Stream) -> None:
        _done(driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, stream.own))

    def stream(self) -> Stream:
        own = _done(driver.cuStreamCreate(int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
        return Stream(int(own), own)

    def wait(self, stream: Stream) -> None:
        _done(driver.cuStreamSynchronize(stream.own))

    def event(self) -> Any:
        return _done(driver.cuEventCreate(int(driver.CUevent_flags.CU_EVENT_DEFAULT)))

    def record(self, event: Any, stream: Stream) -> None:
        _done(driver.cuEventRecord(event, stream.own))

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return cast("float", _done(driver.cuEventElapsedTime(start, end)))

    def graph(self, stream: Stream, work: Callable[[], None]) -> Launch:
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _done(driver.cuStreamBeginCapture(stream.own, mode))
        try:
            work()
        finally:
            recorded = _done(driver.cuStreamEndCapture(stream.own))
        executable = _done(driver.cuGraphInstantiate(recorded, 0))
        return lambda: cast("None", _done(driver.cuGraphLaunch(executable, stream.own)))

    @contextmanager
    def current(self) -> Iterator[None]:
        _done(driver.cuCtxSetCurrent(self.context))
        yield

    def close(self) -> None:
        for address in self.addresses:
            _done(driver.cuMemFree(address))
        for page in self.pages:
            _done(driver.cuMemFreeHost(page))
        self.addresses, self.pages = [], []


def _done(answer: tuple[Any, ...]) -> Any:
    """What a call answers besides its error code.

    Raises:
        RuntimeError: the code is one.
    """
    code, *values = answer
    if int(code):
        raise RuntimeError(f"CUDA error {int(code)} ({code.name})")
    return values[0] if len(values) == 1 else tuple(values)
