"""Loaded by Python itself when this folder is on its path: libcuda.so.1 is the fake one."""

import ctypes

import fake_gpu

_real = ctypes.CDLL


def _load(name, *arguments, **options):
    return fake_gpu.Driver() if name == "libcuda.so.1" else _real(name, *arguments, **options)


ctypes.CDLL = _load
