"""pycuda's driver module: objects, and a stack of contexts that must be empty in the end."""

import atexit
import os

import fake_gpu
import numpy as np

stack = []


def init():
    pass


class Error(Exception):
    pass


class Context:
    def push(self):
        stack.append(self)

    def pop(self):
        stack.pop()


class Device:
    def __init__(self, index):
        assert index == 0

    def retain_primary_context(self):
        return Context()


def _needs_context():
    if not stack:
        raise RuntimeError("invalid device context")


class DeviceAllocation:
    def __init__(self, count):
        self.address = fake_gpu.memory(count)

    def __int__(self):
        return self.address

    def __del__(self):
        fake_gpu.free(self.address)


def mem_alloc(count):
    _needs_context()
    return DeviceAllocation(count)


def pagelocked_empty(shape, dtype):
    _needs_context()
    return np.empty(shape, dtype)


class Stream:
    def __init__(self, flags):
        assert flags == 1, "a stream that the default stream does not wait for"
        _needs_context()
        self.handle = fake_gpu.new_stream()

    def synchronize(self):
        fake_gpu.wait(self.handle)


class Event:
    def record(self, stream):
        fake_gpu.submit(stream.handle, lambda: setattr(self, "ms", fake_gpu.now_ms()))

    def time_since(self, other):
        return self.ms - other.ms


def memcpy_htod_async(address, array, stream):
    assert isinstance(address, int)
    assert array.flags.c_contiguous
    fake_gpu.submit(stream.handle, lambda: fake_gpu.copy(address, array.ctypes.data, array.nbytes))


def memcpy_dtoh_async(array, address, stream):
    assert array.flags.c_contiguous
    fake_gpu.submit(stream.handle, lambda: fake_gpu.copy(array.ctypes.data, address, array.nbytes))


def _abort_with_contexts():
    if stack:
        os.write(2, b"PyCUDA ERROR: The context stack was not empty upon module cleanup.\n")
        os._exit(134)


atexit.register(_abort_with_contexts)
