"""RAPL's counters: which add up, how they wrap, and who may read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeprune.measure.power import find_sensor
from edgeprune.measure.sensors.energy import mean_watts
from edgeprune.measure.sensors.rapl import Rapl, find_rapl
from edgeprune.measure.sensors.sensor import About, Beside
from tests.measure.recorded import LAPTOP, lay
from tests.measure.sensors.traced import Moving, trace_of

PACKAGE = "sys/class/powercap/intel-rapl:0/energy_uj"
MEMORY = "sys/class/powercap/intel-rapl:0:2/energy_uj"
RANGE_J, MEMORY_RANGE_J = 262143.328850, 65532.610987


def test_packages_and_memory_add_up_and_parts_of_them_do_not(tmp_path):
    found = find_rapl(lay(tmp_path, LAPTOP))
    assert isinstance(found, Rapl)
    assert found.about.total == ("package-0", "package-0/dram")
    assert found.about.counts
    assert found.read() == pytest.approx({"package-0": 1.0, "package-0/core": 0.4, "package-0/dram": 0.2, "psys": 9.0})


def test_a_counter_that_wraps_goes_on(tmp_path):
    root = lay(tmp_path, LAPTOP)
    found = find_rapl(root)
    assert isinstance(found, Rapl)
    readings = []
    for raw in (262_143_000_000, 100_000, 900_000, 500_000):  # over the end of the range twice
        (root / PACKAGE).write_text(f"{raw}\n")
        readings.append(found.read()["package-0"])
    assert readings == pytest.approx([262143.0, 0.1 + RANGE_J, 0.9 + RANGE_J, 0.5 + 2 * RANGE_J])


@dataclass
class Loaded:
    """A package that takes 35 W, and its memory 5 W, from just below the end of the range on."""

    root: Path
    clock: Moving
    found: Rapl

    @property
    def about(self) -> About:
        return self.found.about

    def read(self) -> dict[str, float]:
        for file, range_j, watts in ((PACKAGE, RANGE_J, 35.0), (MEMORY, MEMORY_RANGE_J, 5.0)):
            joules = range_j - 100.0 + watts * (self.clock.now - 1000.0)
            (self.root / file).write_text(f"{int(joules % range_j * 1e6)}\n")
        return self.found.read()

    def beside(self) -> Beside:
        return Beside()


def test_a_load_of_known_energy_over_the_end_of_the_range(tmp_path):
    root, clock = lay(tmp_path, LAPTOP), Moving()
    found = find_rapl(root)
    assert isinstance(found, Rapl)
    trace = trace_of(Loaded(root, clock, found), clock, 30.0)
    assert [zone.turns for zone in found.zones if zone.name in trace.about.total] == [1, 1]
    assert mean_watts(trace, trace.total, 1001.0, 1029.0) == pytest.approx(40.0, rel=0.01)


def test_without_permission_the_command_that_gives_it_is_named(tmp_path, monkeypatch):
    root = lay(tmp_path, LAPTOP)
    # Root reads everything, so the refusal is the system's answer to the question.
    monkeypatch.setattr("os.access", lambda path, _mode: "powercap" not in str(path))
    reason = find_sensor(root)
    assert isinstance(reason, str)
    assert "root only: sudo chmod a+r /sys/class/powercap" in reason


def test_a_machine_without_rapl(tmp_path):
    assert find_rapl(tmp_path) is None
