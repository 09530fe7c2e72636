"""ONNX Runtime on the CPU, with the settings that the bundle was measured with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Engine:
    """A loaded network."""

    def __init__(self, manifest: dict[str, Any], model: bytes, threads: int | None, folder: Path):
        del folder
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _physical_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if _saturates(manifest):
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own have no base in common
            raise ValueError(f"ONNX Runtime {onnxruntime.__version__} does not take model.onnx ({error}).") from error
        self._input, self._output = manifest["input"]["name"], manifest["output"]["name"]

    def run(self, x: np.ndarray) -> np.ndarray:
        return self._session.run([self._output], {self._input: x})[0]


def _physical_cores() -> int:
    """Two threads on one core share its vector units: counting them as two only makes them wait for each other."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    topology = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in cpus]
    return len({file.read_text() if file.is_file() else str(file) for file in topology})


def _saturates(manifest: dict[str, Any]) -> bool:
    """An x86 without VNNI sums products of bytes in 16 bits, which 8-bit weights overflow; exact sums are slower."""
    if (manifest["precision"], manifest["weight_bits"], manifest["lowering"]) != ("int8", 8, "onnxruntime"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}
