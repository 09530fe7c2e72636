"""The CUDA driver by ctypes: whether there is a GPU and which, and CUDA graphs for pycuda, which has none.

The driver's library comes with the GPU's driver (on a Jetson with JetPack), so no package is needed to ask.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARY = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR, INTEGRATED, MULTIPROCESSORS = 75, 76, 18, 16
"""CUdevice_attribute, cuda.h."""
THREAD_LOCAL = 1
"""CUstreamCaptureMode: other threads' calls do not disturb the capture."""


@dataclass(frozen=True)
class Gpu:
    """The first CUDA device."""

    name: str
    capability: str
    """Compute capability, as `8.7`."""
    memory_bytes: int
    integrated: bool
    """It shares the CPU's memory, as on a Jetson."""
    driver: str
    """The newest CUDA that the driver speaks, as `12.6`."""
    multiprocessors: int = 0
    """Those at work: every Orin is called Orin, and a power mode of a Jetson may switch some off."""

    @property
    def sm(self) -> int:
        """The capability as a number, 87."""
        major, minor = self.capability.split(".")
        return 10 * int(major) + int(minor)


def first_gpu() -> Gpu | str:
    """Describe the first CUDA device; or say why there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} is not here"
    code = library.cuInit(0)
    if code:
        return f"the driver says {_words(library, code)}"
    count = ctypes.c_int()
    code = library.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        return "the driver lists no device"
    version, device = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGet(ctypes.byref(device), 0)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=f"{attribute(CAPABILITY_MAJOR)}.{attribute(CAPABILITY_MINOR)}",
        memory_bytes=memory.value,
        integrated=bool(attribute(INTEGRATED)),
        driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
        multiprocessors=attribute(MULTIPROCESSORS),
    )


def capture(stream: int, work: Callable[[], None]) -> Callable[[], None]:
    """Record what `work` puts into a stream as a CUDA graph, and return what launches it.

    Raises:
        RuntimeError: the driver refuses, as it does for work that waits.
    """
    library = ctypes.CDLL(LIBRARY)
    handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()

    def call(name: str, *arguments: Any) -> None:
        code = getattr(library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: {_words(library, code)}")

    call("cuStreamBeginCapture_v2", handle, THREAD_LOCAL)
    try:
        work()
    finally:
        call("cuStreamEndCapture", handle, ctypes.byref(graph))
    call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    return lambda: call("cuGraphLaunch", executable, handle)


def _words(library: Any, code: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return f"{text.value.decode() if text.value else 'an unknown error'} (CUDA error {code})"
