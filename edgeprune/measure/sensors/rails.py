"""A Jetson's power monitors, through hwmon: INA3221 on the module, INA238 on Thor's carrier board.

`in{c}_label` names a channel's rail, `in{c}_input` is millivolts, `curr{c}_input` milliamperes (Linux kernel,
Documentation/hwmon/ina3221.rst, ina238.rst); hwmon's numbers change from boot to boot. Which rails make up what the
device takes differs by board:

- Orin Nano and NX: VDD_IN is the whole module; the other two are parts of it.
- AGX Orin: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0; VDDQ_VDD2_1V8AO is fed from the last and would count twice. The
  carrier board is not in it.
- Thor: VIN, the developer kit's input (INA238); the others are parts of it.

One reading of an INA3221 register takes about half a millisecond on the bus, hence ten readings a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeprune.measure.facts import text
from edgeprune.measure.sensors.sensor import About, Beside, read_number

TOTALS = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""The first of these that a board has."""
UNCONNECTED = {"NC", ""}
SUM = "sum of shunt voltages"
PERIOD_S = 0.1
MILLI, MICRO = 1e-3, 1e-6


@dataclass(frozen=True)
class Rail:
    """One rail's files: watts directly in microwatts, or millivolts and milliamperes."""

    name: str
    millivolts: Path
    milliamperes: Path
    microwatts: Path | None = None

    def watts(self) -> float:
        if self.microwatts is not None:
            return MICRO * read_number(self.microwatts)
        return MILLI * read_number(self.millivolts) * MILLI * read_number(self.milliamperes)


@dataclass(frozen=True)
class Rails:
    """All rails of a board."""

    rails: tuple[Rail, ...]
    total: tuple[str, ...]

    @property
    def about(self) -> About:
        return About("the board's power monitors (INA3221, INA238)", False, self.total, PERIOD_S)

    def read(self) -> dict[str, float]:
        return {rail.name: rail.watts() for rail in self.rails}

    def beside(self) -> Beside:
        return Beside()


def find_rails(root: Path = Path("/")) -> Rails | str | None:
    """The board's rails; in words, why they make up no total; None where there are no monitors."""
    rails = (*_ina3221(root), *_ina238(root))
    if not rails:
        return None
    names = {rail.name for rail in rails}
    total = next((total for total in TOTALS if names >= set(total)), None)
    if total is None:
        wanted = " or ".join(" + ".join(total) for total in TOTALS)
        return f"the board's power monitors name {', '.join(sorted(names))}; none of them is its total ({wanted})"
    return Rails(rails, total)


def _ina3221(root: Path) -> Iterator[Rail]:
    for folder in sorted((root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*")):
        for label in sorted(folder.glob("in[0-9]_label")):
            channel, name = label.name[2], text(label)
            current = folder / f"curr{channel}_input"
            if name not in UNCONNECTED and name != SUM and current.exists():
                yield Rail(name, folder / f"in{channel}_input", current)


def _ina238(root: Path) -> Iterator[Rail]:
    """One rail each: `in1` is the bus voltage; the device tree's label names it, on Thor's kit it is the input."""
    for folder in sorted((root / "sys/bus/i2c/drivers/ina238").glob("*/hwmon/hwmon*")):
        name = text(folder / "in1_label") or text(folder / "label") or "VIN"
        watts = folder / "power1_input"
        yield Rail(name, folder / "in1_input", folder / "curr1_input", watts if watts.exists() else None)
