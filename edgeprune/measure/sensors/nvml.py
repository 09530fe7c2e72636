"""An NVIDIA GPU's own account of its energy, through NVML (nvidia-ml-py).

The driver counts millijoules since it was loaded (Volta and later) and brings the counter up to date about every
100 ms. Where there is no counter, the power of the moment is read where the GPU tells it; and where it does not, the
power that it does tell, which on Ampere and later (but GA100) is the mean over the last second (NVML API reference,
nvmlDeviceGetPowerUsage). On some GPUs the readings stand for a part of the time only (Yang et al. 2024, "Part-time
power measurements"), which long runs even out.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

from edgeprune.measure.sensors.sensor import About, Beside, SensorLostError

COUNTER_PERIOD_S, POWER_PERIOD_S = 0.02, 0.05
AVERAGED_S = 1.0
GA100 = (8, 0)
MILLI = 1e-3
RAIL = "GPU"
SLOWED = {
    "SwPowerCap": "its power limit",
    "HwSlowdown": "its hardware (power brake or heat)",
    "SwThermalSlowdown": "heat, by the driver",
    "HwThermalSlowdown": "heat, by the hardware",
    "HwPowerBrakeSlowdown": "the power brake",
}


def NVML_FAULTS(nvml: Any) -> type[Exception]:
    kind: type[Exception] = nvml.NVMLError
    return kind


def open_nvml() -> tuple[Any, Any] | str:
    """NVML and the GPU that CUDA takes first; in words, why there is none."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return "nvidia-ml-py is not installed (pip install nvidia-ml-py)"
    try:
        nvml.nvmlInit()
        return nvml, _first(nvml)
    except NVML_FAULTS(nvml) as fault:
        return f"NVML does not start ({' '.join(str(fault).split())})"


def _first(nvml: Any) -> Any:
    """CUDA_VISIBLE_DEVICES may name another than the first, by its number or its UUID."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if asked.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(asked)
    return nvml.nvmlDeviceGetHandleByIndex(int(asked) if asked.isdigit() else 0)


@dataclass(frozen=True)
class Nvml:
    """One GPU; `how`: which of its accounts is read."""

    nvml: Any
    device: Any
    how: str
    averaged_s: float = 0.0

    @property
    def about(self) -> About:
        counts = self.how == "counter"
        words = {
            "counter": "the GPU's energy counter (NVML)",
            "instant": "the GPU's power at the moment (NVML)",
            "usage": "the GPU's power (NVML)",
        }
        return About(words[self.how], counts, (RAIL,), COUNTER_PERIOD_S if counts else POWER_PERIOD_S, self.averaged_s)

    def read(self) -> dict[str, float]:
        try:
            if self.how == "counter":
                return {RAIL: MILLI * self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.device)}
            if self.how == "instant":
                return {RAIL: MILLI * _instant(self.nvml, self.device)}
            return {RAIL: MILLI * self.nvml.nvmlDeviceGetPowerUsage(self.device)}
        except NVML_FAULTS(self.nvml) as fault:
            raise SensorLostError(f"NVML tells no more ({fault})") from None

    def beside(self) -> Beside:
        """Clocks, temperature and what slows the GPU down."""
        nvml, device = self.nvml, self.device
        try:
            clocks = {
                "gpu": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
                "gpu memory": float(nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM)),
            }
            heat = {"gpu": float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))}
            reasons = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
        except NVML_FAULTS(nvml):
            return Beside()
        slowed = tuple(
            f"the GPU was slowed by {words}"
            for name, words in SLOWED.items()
            if reasons & int(getattr(nvml, f"nvmlClocksThrottleReason{name}", 0))
        )
        return Beside(clocks, heat, slowed)


def find_nvml() -> Nvml | str:
    """The best account that the GPU gives; in words, why there is none."""
    opened = open_nvml()
    if isinstance(opened, str):
        return opened
    nvml, device = opened
    faults = NVML_FAULTS(nvml)
    for how, ask in (
        ("counter", nvml.nvmlDeviceGetTotalEnergyConsumption),
        ("instant", lambda device: _instant(nvml, device)),
        ("usage", nvml.nvmlDeviceGetPowerUsage),
    ):
        try:
            ask(device)
        except faults:
            continue
        return Nvml(nvml, device, how, _averaged(nvml, device) if how == "usage" else 0.0)
    return "the GPU tells NVML neither energy nor power"


def _instant(nvml: Any, device: Any) -> float:
    """Milliwatts at the moment.

    Raises:
        NVMLError: the GPU does not tell them.
    """
    (answer,) = nvml.nvmlDeviceGetFieldValues(device, [nvml.NVML_FI_DEV_POWER_INSTANT])
    if answer.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(answer.nvmlReturn)
    return float(answer.value.uiVal)


def _averaged(nvml: Any, device: Any) -> float:
    """Over how long nvmlDeviceGetPowerUsage is a mean."""
    try:
        capability = tuple(nvml.nvmlDeviceGetCudaComputeCapability(device))
    except NVML_FAULTS(nvml):
        return AVERAGED_S
    return AVERAGED_S if capability >= GA100 and capability != GA100 else 0.0
