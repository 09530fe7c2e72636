"""A Jetson's rails against the watts that were computed by hand from the recorded trees."""

from __future__ import annotations

import shutil

import pytest

from edgeprune.measure.power import find_sensor
from edgeprune.measure.sensors.rails import Rails, find_rails
from edgeprune.measure.sensors.sensor import SensorLostError
from tests.measure.recorded import AGX_ORIN, JETSONS, ORIN_NANO, THOR


@pytest.mark.parametrize("tree", JETSONS, ids=lambda tree: tree.name)
def test_watts_of_every_rail_and_of_the_board(tree, tmp_path):
    found = find_rails(tree.lay(tmp_path))
    assert isinstance(found, Rails)
    read = found.read()
    assert read == pytest.approx(tree.rails_w)
    assert found.about.total == tree.total
    assert sum(read[name] for name in found.about.total) == pytest.approx(tree.total_w)
    assert not found.about.counts


def test_unconnected_channels_and_the_sum_of_shunts_are_no_rails(tmp_path):
    found = find_rails(AGX_ORIN.lay(tmp_path))
    assert isinstance(found, Rails)
    assert {rail.name for rail in found.rails} == set(AGX_ORIN.rails_w)


def test_an_ina238_without_its_own_watts_is_multiplied(tmp_path):
    root = THOR.lay(tmp_path)
    (path,) = root.glob("sys/bus/i2c/drivers/ina238/*/hwmon/hwmon*/power1_input")
    path.unlink()
    found = find_rails(root)
    assert isinstance(found, Rails)
    assert found.read()["VIN"] == pytest.approx(19.98 * 0.99)


def test_a_missing_rail_leaves_no_total_and_says_which_there_are(tmp_path):
    root = AGX_ORIN.lay(tmp_path)
    (label,) = root.glob("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon*/in2_label")
    label.unlink()
    reason = find_sensor(root)
    assert isinstance(reason, str)
    assert "name VDDQ_VDD2_1V8AO, VDD_GPU_SOC, VIN_SYS_5V0; none of them is its total" in reason


def test_a_board_without_monitors(tmp_path):
    assert find_rails(tmp_path) is None
    reason = find_sensor(tmp_path)
    assert isinstance(reason, str)
    assert "no power sensor" in reason


def test_a_monitor_that_vanishes_says_so(tmp_path):
    root = ORIN_NANO.lay(tmp_path)
    found = find_rails(root)
    assert isinstance(found, Rails)
    shutil.rmtree(root / "sys/bus/i2c")
    with pytest.raises(SensorLostError, match="in1_input cannot be read any more \\(No such file"):
        found.read()
