"""A GPU of host memory: streams, events and graphs as CUDA orders them, for the fakes of CUDA's packages and TensorRT.

Work in a stream is done at once, or kept where the stream is being captured. Waiting for a captured stream is refused,
as by CUDA.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

NAME = os.environ.get("FAKE_GPU", "NVIDIA GeForce RTX 4090")
CAPABILITY = tuple(int(part) for part in os.environ.get("FAKE_CAPABILITY", "8.9").split("."))
INTEGRATED = int(os.environ.get("FAKE_INTEGRATED", "0"))
MEMORY = 24 << 30

buffers: dict[int, Any] = {}
captured: dict[int, list[Callable[[], None]]] = {}
"""What streams that are being captured were given."""
graphs: dict[int, list[Callable[[], None]]] = {}
handles = itertools.count(0x1000, 0x10)
streams: set[int] = set()


class CudaFault(Exception):
    """What CUDA answers an error code to."""


def memory(count: int) -> int:
    buffer = ctypes.create_string_buffer(max(count, 1))
    buffers[ctypes.addressof(buffer)] = buffer
    return ctypes.addressof(buffer)


def free(address: int) -> None:
    del buffers[address]


def copy(to: int, source: int, count: int) -> None:
    ctypes.memmove(to, source, count)


def submit(stream: int, work: Callable[[], None]) -> None:
    if stream not in streams:
        raise CudaFault("no such stream")
    if stream in captured:
        captured[stream].append(work)
    else:
        work()


def new_stream() -> int:
    handle = next(handles)
    streams.add(handle)
    return handle


def wait(stream: int) -> None:
    if stream in captured:
        raise CudaFault("a captured stream cannot be waited for")


def begin_capture(stream: int) -> None:
    if stream not in streams or stream in captured:
        raise CudaFault("cannot capture")
    captured[stream] = []


def end_capture(stream: int) -> int:
    handle = next(handles)
    graphs[handle] = captured.pop(stream)
    return handle


def launch(graph: int, stream: int) -> None:
    for work in graphs[graph]:
        submit(stream, work)


def now_ms() -> float:
    return 1000 * time.perf_counter()


class Driver:
    """libcuda.so.1 as ctypes sees it."""

    def cuInit(self, flags: int) -> int:
        return int(os.environ.get("FAKE_CUINIT", "0"))

    def cuGetErrorString(self, code: int, text: Any) -> int:
        text._obj.value = b"no CUDA-capable device is detected"
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 12060
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = NAME.encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = MEMORY
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:
        value._obj.value = {75: CAPABILITY[0], 76: CAPABILITY[1], 18: INTEGRATED, 16: 8}[number]
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:
        begin_capture(stream.value)
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        graph._obj.value = end_capture(stream.value)
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        executable._obj.value = graph.value
        return 0

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:
        launch(executable.value, stream.value)
        return 0
