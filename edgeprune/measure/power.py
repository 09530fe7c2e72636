"""Watts, or why there are none. A figure from a data sheet is never given for a measured one."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprune.spec.profile import Power


def measure_power(root: Path = Path("/")) -> Power:
    """Say why power was not measured: this version reads no sensor yet."""
    return Power(measured=False, reason=_reason(root))


def _reason(root: Path) -> str:
    unread = "this version of edgeprune reads no power sensor yet"
    if list((root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*")):
        return f"the board has INA3221 power monitors; {unread}"
    rapl = sorted((root / "sys/class/powercap").glob("intel-rapl:*/energy_uj"))
    if rapl and os.access(rapl[0], os.R_OK):
        return f"the CPU has RAPL energy counters; {unread}"
    if rapl:
        return f"the CPU's RAPL energy counters may be read by root only; {unread}"
    return "this machine shows no power sensor (neither RAPL nor INA3221), like most virtual machines"
