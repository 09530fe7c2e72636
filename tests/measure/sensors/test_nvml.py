"""NVML's three accounts of a GPU's power, on a fake that moves like the real one."""

from __future__ import annotations

import sys

import pytest

from edgeprune.measure.gpu_memory import GROWTH, OWN, open_gpu_memory
from edgeprune.measure.sensors.nvml import Nvml, find_nvml
from edgeprune.measure.sensors.sensor import SensorLostError
from tests.measure.sensors.fake_nvml import FakeNvml
from tests.measure.sensors.traced import Moving, trace_of


def steady(_t: float) -> float:
    return 250.0


def swinging(t: float) -> float:
    """300 W over 1.6 s of two, 100 W over the rest: 260 W in the mean."""
    return 300.0 if t % 2.0 < 1.6 else 100.0


@pytest.fixture
def install(monkeypatch):
    def put(fake: FakeNvml) -> FakeNvml:
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return put


@pytest.mark.parametrize(
    ("tells", "how", "counts", "averaged"),
    [
        ({"counter", "instant", "usage"}, "counter", True, 0.0),
        ({"instant", "usage"}, "instant", False, 0.0),
        ({"usage"}, "usage", False, 1.0),
    ],
)
def test_the_best_account_is_taken_and_gives_the_mean_within_a_hundredth(install, tells, how, counts, averaged):
    clock = Moving()
    install(FakeNvml(swinging, clock, tells))
    sensor = find_nvml()
    assert isinstance(sensor, Nvml)
    assert sensor.how == how
    assert sensor.about.counts is counts
    assert sensor.about.averaged_s == averaged
    trace = trace_of(sensor, clock, 24.0)
    from edgeprune.measure.sensors.energy import mean_watts

    begin = trace.times[0] + 1.0
    assert mean_watts(trace, trace.total, begin, begin + 20.0) == pytest.approx(260.0, rel=0.01)


def test_before_ampere_power_is_that_of_the_moment(install):
    for capability, averaged in (((7, 5), 0.0), ((8, 0), 0.0), ((8, 6), 1.0), ((9, 0), 1.0), ((12, 0), 1.0)):
        install(FakeNvml(steady, tells={"usage"}, capability=capability))
        sensor = find_nvml()
        assert isinstance(sensor, Nvml)
        assert sensor.about.averaged_s == averaged


def test_clocks_heat_and_what_slows_it_down(install):
    install(FakeNvml(steady, reasons=4))
    sensor = find_nvml()
    assert isinstance(sensor, Nvml)
    beside = sensor.beside()
    assert beside.clocks_mhz == {"gpu": 2520, "gpu memory": 10501}
    assert beside.temperatures_c == {"gpu": 61}
    assert beside.slowed_by == ("the GPU was slowed by its power limit",)


def test_why_there_is_none(install, monkeypatch):
    install(FakeNvml(steady, missing_library=True))
    assert find_nvml() == "NVML does not start (NVML Shared Library Not Found)"
    install(FakeNvml(steady, tells=set()))
    assert find_nvml() == "the GPU tells NVML neither energy nor power"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py is not installed" in str(find_nvml())


def test_a_driver_that_goes_away(install):
    fake = install(FakeNvml(steady))
    sensor = find_nvml()
    assert isinstance(sensor, Nvml)
    fake.tells.clear()
    with pytest.raises(SensorLostError, match="NVML tells no more"):
        sensor.read()


def test_memory_is_the_process_s_own_where_the_driver_names_it(install):
    from types import SimpleNamespace

    fake = install(FakeNvml(steady, used=500))
    memory = open_gpu_memory(pid=7)
    assert memory is not None
    fake.used = 900
    assert memory.used() == 400
    assert memory.words == GROWTH
    fake.processes = [SimpleNamespace(pid=6, usedGpuMemory=1), SimpleNamespace(pid=7, usedGpuMemory=300)]
    assert memory.used() == 300
    assert memory.words == OWN
