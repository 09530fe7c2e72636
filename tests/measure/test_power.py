"""Energy of loads that are known, by every kind of sensor; and what is said where there is none."""

from __future__ import annotations

import datetime
import shutil

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.measure.power import Idle, power_of
from edgeprune.measure.profile import Wishes, profile_bundle
from edgeprune.measure.sensors.meter import read_meter
from edgeprune.measure.sensors.sensor import About, Trace
from edgeprune.spec.power import Power
from tests.measure.recorded import AGX_ORIN, LAPTOP, ORIN_NANO, lay
from tests.measure.sensors.traced import calls, sampled

BOARD = About("a board", False, ("board",), 0.1)
COUNTER = About("a counter", True, ("board",), 0.1)
KINDS = [BOARD, COUNTER]


def ramp(t: np.ndarray) -> np.ndarray:
    """4 W, and from 10 s on 10 W that swing by 2 W twenty times a minute: 10 W in the mean over whole periods."""
    return np.where(t < 10, 4.0, 10.0 + 2.0 * np.sin(2 * np.pi * (t - 10) / 3))


@pytest.mark.parametrize("about", KINDS, ids=lambda about: about.name)
def test_a_load_of_known_energy_is_integrated_within_a_hundredth(about):
    trace = sampled(ramp, about, 0.0, 42.0)
    timed = calls(11.0, 41.0, 0.02)  # 1500 images in 30 s at 10 W: 200 mJ each, of which 80 mJ are idle
    power = power_of(trace, timed, Idle(0.5, 9.5))
    assert power.mean_w == pytest.approx(10.0, rel=0.01)
    assert power.energy_per_inference_mj == pytest.approx(200.0, rel=0.01)
    assert power.idle_w == pytest.approx(4.0, rel=0.01)
    assert power.net_mj is not None
    assert power.net_mj.value == pytest.approx(120.0, rel=0.01)
    assert power.gross_mj is not None
    for interval, truth in ((power.gross_mj, 200.0), (power.net_mj, 120.0)):
        assert interval.ci is not None
        assert interval.ci[0] < truth < interval.ci[1]
        assert interval.ci[1] - interval.ci[0] < 0.2 * truth
    assert power.rails_included == ["board"]
    assert power.sample_rate_hz == pytest.approx(10, rel=0.01)


def test_readings_that_are_means_of_the_last_second_do_not_hold_what_was_before():
    """Idle until 10 s: the first second's readings still hold some of it, and are left out."""
    fine = np.arange(0.0, 42.0, 0.01)
    watts = np.where(fine < 10, 4.0, 10.0)
    mean = np.array([watts[max(0, i - 100) : i + 1].mean() for i in range(len(fine))])
    about = About("a GPU", False, ("board",), 0.05, averaged_s=1.0)
    trace = Trace(about, fine[::5], {"board": mean[::5]})
    power = power_of(trace, calls(10.0, 20.0, 0.02), Idle(1.0, 9.0))
    assert power.mean_w == pytest.approx(10.0, rel=0.01)
    assert power.idle_w == pytest.approx(4.0)


def test_intervals_of_noisy_loads_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        times = np.arange(0.0, 32.0, 0.1)
        trace = Trace(BOARD, times, {"board": 10 + rng.normal(0, 1, len(times))})
        power = power_of(trace, calls(1.0, 31.0, 0.02), None)
        assert power.gross_mj is not None
        assert power.gross_mj.ci is not None
        held += power.gross_mj.ci[0] <= 200.0 <= power.gross_mj.ci[1]
    assert 50 <= held <= 60


def test_a_short_run_has_no_interval_and_no_readings_no_figure():
    trace = sampled(ramp, BOARD, 0.0, 42.0)
    power = power_of(trace, calls(11.0, 13.0, 0.02), None)
    assert power.measured
    assert power.gross_mj is not None
    assert power.gross_mj.ci is None
    assert power.reason == "no idle baseline, so no net energy"
    nothing = power_of(trace, calls(11.0, 11.15, 0.05), None)
    assert not nothing.measured
    assert "too few readings in 0.2 s" in str(nothing.reason)


def test_never_a_figure_without_a_measurement():
    with pytest.raises(ValueError, match="mean_w"):
        Power(measured=True)
    with pytest.raises(ValueError, match="reason"):
        Power(measured=False)


@pytest.mark.parametrize("tree", [ORIN_NANO, AGX_ORIN], ids=lambda tree: tree.name)
def test_a_profile_with_the_board_s_power(tree, make_bundle, tmp_path):
    root = tree.lay(tmp_path / "root")
    profile = profile_bundle(make_bundle(), seconds=0.6, threads=1, wishes=Wishes(root=root))
    assert profile.power.mean_w == pytest.approx(tree.total_w)
    assert profile.power.rails_included == list(tree.total)
    assert profile.power.rails_w == pytest.approx(tree.rails_w)
    assert profile.power.idle_w == pytest.approx(tree.total_w)
    image_s = profile.power.seconds / profile.latency_ms.count
    assert profile.power.energy_per_inference_mj == pytest.approx(1000 * tree.total_w * image_s)
    assert profile.machine.module == tree.module
    assert profile.machine.power_mode is not None
    assert profile.machine.power_mode.name == tree.mode
    assert profile.machine.jetpack == tree.jetpack


def test_clocks_and_heat_are_read_along(make_bundle, tmp_path):
    root = ORIN_NANO.lay(tmp_path / "root")
    conditions = profile_bundle(make_bundle(), seconds=0.3, threads=1, wishes=Wishes(root=root)).machine.conditions
    assert conditions is not None
    assert conditions.clocks_mhz["gpu"].highest == 1020
    assert conditions.temperatures_c == {"cpu-thermal": conditions.temperatures_c["cpu-thermal"]}
    assert conditions.temperatures_c["cpu-thermal"].first == 48.25
    assert conditions.throttled == []


def test_a_sensor_that_vanishes_half_way_leaves_a_finished_profile(make_bundle, tmp_path):
    root = ORIN_NANO.lay(tmp_path / "root")

    def tick(label: str, done: int, total: int) -> None:
        if label == "timing calls" and done > total // 2 and (root / "sys/bus/i2c").exists():
            shutil.rmtree(root / "sys/bus/i2c")
            (root / "sys/class/hwmon/hwmon4/oc1_event_cnt").write_text("3\n")

    profile = profile_bundle(make_bundle(), seconds=0.8, threads=1, tick=tick, wishes=Wishes(root=root))
    assert profile.latency_ms.count > 0
    assert not profile.power.measured
    assert "the sensor was lost after 0." in str(profile.power.reason)
    assert "in1_input cannot be read any more" in str(profile.power.reason)
    assert profile.machine.conditions is not None
    assert profile.machine.conditions.throttled == ["over-current event oc1: +3"]


def test_a_sensor_that_may_not_be_read_leaves_a_finished_profile(make_bundle, tmp_path, monkeypatch):
    root = lay(tmp_path / "root", LAPTOP)
    monkeypatch.setattr("edgeprune.measure.sensors.rapl.os.access", lambda _path, _mode: False)
    profile = profile_bundle(make_bundle(), seconds=0.05, threads=1, wishes=Wishes(root=root))
    assert "root only" in str(profile.power.reason)
    assert profile.power.mean_w is None


def test_a_board_without_its_total_s_rail_leaves_a_finished_profile(make_bundle, tmp_path):
    root = AGX_ORIN.lay(tmp_path / "root")
    (label,) = root.glob("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon*/in1_label")
    label.unlink()
    profile = profile_bundle(make_bundle(), seconds=0.05, threads=1, wishes=Wishes(root=root))
    assert profile.latency_ms.count > 0
    assert "none of them is its total" in str(profile.power.reason)
    assert (profile.power.mean_w, profile.power.gross_mj) == (None, None)


METER = ["{t},{w}", "{iso};{w}"]


@pytest.mark.parametrize("form", METER)
def test_an_external_meter_s_log(form, tmp_path):
    """50 W idle, 120 W from 100 s on: rows each half second, on a clock that is 1000 s ahead."""
    rows = [] if form == METER[0] else ["Time;Power (W)"]
    for step in range(400):
        t = 1_700_000_000 + step / 2
        iso = datetime.datetime.fromtimestamp(t, datetime.timezone.utc).isoformat()
        rows.append(form.format(t=t, iso=iso, w=50 if step < 200 else 120))
    log = tmp_path / "meter.csv"
    log.write_text("\n".join([*rows, "17000"]), encoding="utf-8")  # a row that is being written
    trace = read_meter(log, 1000.0 - 1_700_000_000)
    power = power_of(trace, calls(1110.0, 1140.0, 0.5), Idle(1010.0, 1090.0))
    assert power.mean_w == pytest.approx(120)
    assert power.idle_w == pytest.approx(50)
    assert power.energy_per_inference_mj == pytest.approx(60_000)
    assert power.sensor == "an external meter (meter.csv)"
    late = power_of(trace, calls(1150.0, 1290.0, 0.5), None)
    assert "has no readings up to the end" in str(late.reason)


@pytest.mark.parametrize("content", ["", "time,watts\n", "yesterday,much\n", "1,2\nx,y\n", "5\n"])
def test_a_log_that_is_none_is_one_line(content, tmp_path):
    (tmp_path / "meter.csv").write_text(content, encoding="utf-8")
    with pytest.raises(
        EdgepruneError, match=r"meter.csv: (not a meter's log|holds no readings). Expected rows"
    ) as caught:
        read_meter(tmp_path / "meter.csv", 0.0)
    assert "\n" not in str(caught.value)
