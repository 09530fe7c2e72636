"""The energy counters of x86 CPUs (RAPL), through powercap; AMD's go by the same names.

`energy_uj` counts microjoules and starts again at 0 after `max_energy_range_uj` (Linux kernel,
Documentation/power/powercap/powercap.rst). Packages and the memory beside them add up; cores and the graphics unit are
parts of their package, and `psys`, where there is one, holds everything once more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.measure.facts import natural, text
from edgeprune.measure.sensors.sensor import About, Beside, read_number

PERIOD_S = 0.1
MICRO = 1e-6
DENIED = (
    "the CPU's energy counters (RAPL) may be read by root only: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj, until the next boot"
)


@dataclass
class Zone:
    """One counter, unwound: it has counted `turns` times through its range."""

    name: str
    counter: Path
    range_uj: float
    last: float = -1.0
    turns: int = 0

    def joules(self) -> float:
        now = read_number(self.counter)
        if now < self.last:
            self.turns += 1
        self.last = now
        return MICRO * (now + self.turns * self.range_uj)


@dataclass
class Rapl:
    """All counters of a machine."""

    zones: list[Zone] = field(default_factory=list)

    @property
    def about(self) -> About:
        total = tuple(zone.name for zone in self.zones if zone.name.startswith("package") and "/" not in zone.name)
        memory = tuple(zone.name for zone in self.zones if zone.name.endswith("/dram"))
        return About("the CPU's energy counters (RAPL)", True, (*total, *memory), PERIOD_S)

    def read(self) -> dict[str, float]:
        return {zone.name: zone.joules() for zone in self.zones}

    def beside(self) -> Beside:
        return Beside()


def find_rapl(root: Path = Path("/")) -> Rapl | str | None:
    """The counters; in words, why they cannot be read; None where there are none."""
    folders = sorted((root / "sys/class/powercap").glob("intel-rapl:*"), key=natural)
    names = {folder.name: text(folder / "name") for folder in folders}
    zones = []
    for folder in folders:
        counter = folder / "energy_uj"
        if not counter.exists():
            continue
        if not os.access(counter, os.R_OK):
            return DENIED
        above = names.get(folder.name.rpartition(":")[0])
        name = names[folder.name] if above is None else f"{above}/{names[folder.name]}"
        zones.append(Zone(name, counter, read_number(folder / "max_energy_range_uj")))
    found = Rapl(zones)
    return found if found.about.total else None
