"""GPU memory of one process, as the driver accounts for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeprune.measure.sensors.nvml import NVML_FAULTS, open_nvml

OWN, GROWTH = "the driver's account of the process", "the growth of what the GPU has in use"


@dataclass
class GpuMemory:
    """Asks NVML for the memory of a process; for the growth of all, where it names no process (in containers)."""

    nvml: Any
    device: Any
    pid: int
    before: int
    words: str = GROWTH

    def used(self) -> int | None:
        """Bytes at this moment; None where the driver tells neither."""
        try:
            running = self.nvml.nvmlDeviceGetComputeRunningProcesses(self.device)
            mine = [process.usedGpuMemory for process in running if process.pid == self.pid]
            if mine and mine[0] is not None:
                self.words = OWN
                return int(mine[0])
            return max(int(self.nvml.nvmlDeviceGetMemoryInfo(self.device).used) - self.before, 0)
        except NVML_FAULTS(self.nvml):
            return None


def open_gpu_memory(pid: int) -> GpuMemory | None:
    """Begin before the process touches the GPU; None where there is no NVML."""
    opened = open_nvml()
    if isinstance(opened, str):
        return None
    nvml, device = opened
    try:
        before = int(nvml.nvmlDeviceGetMemoryInfo(device).used)
    except NVML_FAULTS(nvml):
        before = 0
    return GpuMemory(nvml, device, pid, before)
