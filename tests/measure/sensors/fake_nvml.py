"""A GPU whose NVML moves like the real one: a counter in steps of 100 ms, power as the mean of the last second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

UPDATE_S = 0.1
AVERAGED_S = 1.0


class NVMLError(Exception):
    pass


@dataclass
class FakeNvml:
    """`watts(t)`: power at a moment of the clock; `tells`: the accounts that this GPU gives."""

    watts: Callable[[float], float]
    clock: Callable[[], float] = time.perf_counter
    tells: set[str] = field(default_factory=lambda: {"counter", "instant", "usage"})
    capability: tuple[int, int] = (8, 9)
    reasons: int = 0
    missing_library: bool = False
    NVMLError: type[Exception] = NVMLError
    NVML_SUCCESS: int = 0
    NVML_FI_DEV_POWER_INSTANT: int = 186
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2
    NVML_TEMPERATURE_GPU: int = 0
    nvmlClocksThrottleReasonSwPowerCap: int = 4
    nvmlClocksThrottleReasonHwSlowdown: int = 8
    processes: list[Any] = field(default_factory=list)
    used: int = 0
    _begin: float | None = None

    def nvmlInit(self) -> None:
        if self.missing_library:
            raise NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"GPU {index}"

    def nvmlDeviceGetCudaComputeCapability(self, _device: str) -> tuple[int, int]:
        return self.capability

    def nvmlDeviceGetTotalEnergyConsumption(self, _device: str) -> int:
        """Millijoules up to the last update, integrated in steps of a millisecond."""
        self._needs("counter")
        now = self.clock()
        if self._begin is None:
            self._begin, self._total, self._upto = now, 0.0, now
        edge = self._begin + UPDATE_S * int((now - self._begin) / UPDATE_S)
        while self._upto < edge - 1e-9:
            step = min(1e-3, edge - self._upto)
            self._total += 1000 * self.watts(self._upto + step / 2) * step
            self._upto += step
        return int(5_000_000 + self._total)

    def nvmlDeviceGetPowerUsage(self, _device: str) -> int:
        self._needs("usage")
        now = self.clock()
        moments = [now - AVERAGED_S * (i + 0.5) / 50 for i in range(50)]
        return int(1000 * sum(map(self.watts, moments)) / 50)

    def nvmlDeviceGetFieldValues(self, _device: str, ids: list[int]) -> list[Any]:
        assert ids == [self.NVML_FI_DEV_POWER_INSTANT]
        told = "instant" in self.tells
        value = SimpleNamespace(uiVal=int(1000 * self.watts(self.clock())))
        return [SimpleNamespace(nvmlReturn=0 if told else 3, value=value)]

    def nvmlDeviceGetClockInfo(self, _device: str, kind: int) -> int:
        return {1: 2520, 2: 10501}[kind]

    def nvmlDeviceGetTemperature(self, _device: str, _kind: int) -> int:
        return 61

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _device: str) -> int:
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, _device: str) -> list[Any]:
        return self.processes

    def nvmlDeviceGetMemoryInfo(self, _device: str) -> Any:
        return SimpleNamespace(used=self.used)

    def _needs(self, account: str) -> None:
        if account not in self.tells:
            raise NVMLError("Not Supported")
