"""CUDA over pycuda; its graphs by the driver itself (`driver.capture`), since pycuda has none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pycuda.driver as driver
from numpy.typing import NDArray

from edgeprune.engine.trt.cuda import Launch, Stream
from edgeprune.engine.trt.driver import capture

NON_BLOCKING = 1
"""CUstream_flags, cuda.h: what TensorRT puts into the default stream neither waits for it nor spoils its recording."""


@dataclass
class PyCuda:
    """The first device's primary context, which TensorRT uses too."""

    package: str = "pycuda"
    allocations: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.get_ident()
        try:
            driver.init()
            self.context = driver.Device(0).retain_primary_context()
            self.context.push()
        except driver.Error as error:  # pycuda's own, of no class of Python's
            raise RuntimeError(str(error)) from error

    def allocate(self, count: int) -> int:
        self.allocations.append(driver.mem_alloc(count))
        return int(self.allocations[-1])

    def pinned(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        return cast("NDArray[Any]", driver.pagelocked_empty(tuple(shape), dtype))

    def copy_in(self, address: int, array: NDArray[Any], stream: Stream) -> None:
        driver.memcpy_htod_async(address, array, stream.own)

    def copy_out(self, array: NDArray[Any], address: int, stream: Stream) -> None:
        driver.memcpy_dtoh_async(array, address, stream.own)

    def stream(self) -> Stream:
        own = driver.Stream(NON_BLOCKING)
        return Stream(int(own.handle), own)

    def wait(self, stream: Stream) -> None:
        stream.own.synchronize()

    def event(self) -> Any:
        return driver.Event()

    def record(self, event: Any, stream: Stream) -> None:
        event.record(stream.own)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(end.time_since(start))

    def graph(self, stream: Stream, work: Callable[[], None]) -> Launch:
        return capture(stream.handle, work)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Its stack of contexts is each thread's own; the one that opened the device has it already."""
        if threading.get_ident() == self.thread:
            yield
            return
        self.context.push()
        try:
            yield
        finally:
            self.context.pop()

    def close(self) -> None:
        """Take the context off pycuda's stack too: it aborts a process that ends with one on it."""
        self.allocations.clear()
        if self.context is not None:
            self.context.pop()
            self.context = None
