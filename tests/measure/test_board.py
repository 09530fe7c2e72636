"""Jetsons' own descriptions, read from copies of their files."""

from __future__ import annotations

import pytest

from edgeprune.cli.doctor import lines
from edgeprune.measure.abilities import abilities
from edgeprune.measure.board import power_modes, read_board
from edgeprune.measure.clocks import Watch, read_clocks, throttle_counts
from edgeprune.measure.match import device_targets, mismatch, warnings
from edgeprune.measure.probe import probe
from edgeprune.spec.target import load_target
from tests.measure.recorded import AGX_CONF, JETSONS, LAPTOP, ORIN_NANO, SUPER_CONF, Tree, lay


@pytest.mark.parametrize("tree", JETSONS, ids=lambda tree: tree.name)
def test_a_jetson_s_board_release_and_mode(tree: Tree, tmp_path):
    root = tree.lay(tmp_path)
    board = read_board(root)
    assert board is not None
    assert (board.module, board.l4t, board.jetpack) == (tree.module, tree.l4t, tree.jetpack)
    assert board.power_mode is not None
    assert board.power_mode.name == tree.mode
    assert board.compute_capability == load_target(str(tree.target)).compute_capability.value
    host = probe(root)
    assert device_targets(host)[0] == tree.target
    for other in JETSONS:
        assert (mismatch(host, load_target(str(other.target))) is None) == (other is tree)


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("R36 (release), REVISION: 4.3", "36.4.3", "6.2"),
        ("R36 (release), REVISION: 4.7", "36.4.7", "6.2.1"),
        ("R35 (release), REVISION: 6.4", "35.6.4", "5.1"),
        ("R99 (release), REVISION: 0.0", "99.0.0", None),
    ],
)
def test_without_its_package_jetpack_goes_by_the_release(release, l4t, jetpack, tmp_path):
    """As in a container, which has no device tree either."""
    board = read_board(lay(tmp_path, {"etc/nv_tegra_release": f"# {release}, GCID: 1, BOARD: generic\n"}))
    assert board is not None
    assert (board.l4t, board.jetpack, board.soc) == (l4t, jetpack, None)
    text = "\n".join(lines(abilities(tmp_path)))
    assert f"L4T {l4t}, JetPack {jetpack or 'not told'}" in text
    assert "SoC not told" in text


def test_ids_of_modes_are_the_board_s_own():
    assert {mode.name: mode.id for mode in power_modes(SUPER_CONF)} == {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
    assert {mode.name: mode.id for mode in power_modes(AGX_CONF)}["MAXN"] == 0
    assert power_modes("") == ()


def test_a_module_with_less_memory_is_another_target(tmp_path):
    root = ORIN_NANO.lay(tmp_path)
    path = root / "proc/device-tree/compatible"
    path.write_text(path.read_text().replace("p3767-0005", "p3767-0004"))
    told = mismatch(probe(root), load_target("jetson-orin-nano"))
    assert told is not None
    assert "module p3767-0004" in told


def test_what_makes_a_jetson_slower_is_said(tmp_path):
    root = ORIN_NANO.lay(tmp_path)
    assert "the clocks are not locked (sudo jetson_clocks locks them)" in warnings(probe(root), "jetson-orin-nano")
    (root / "sys/class/devfreq/17000000.gpu/min_freq").write_text("1020000000\n")
    assert warnings(probe(root), "jetson-orin-nano") == []
    (root / "var/lib/nvpmodel/status").write_text("pmode:0003\n")
    (root / "var/lib/dpkg/status").write_text("Package: nvidia-jetpack\nVersion: 5.1.2-b104\n")
    found = warnings(probe(root), "jetson-orin-nano")
    assert "power mode 7W caps the clocks; the stated peaks are those of MAXN_SUPER" in found
    assert any(line.startswith("JetPack 5.1.2-b104 is none of those") for line in found)
    assert "CPU governor" not in " ".join(found)


def test_a_governor_that_follows_the_load_is_said(tmp_path):
    root = lay(tmp_path, LAPTOP | {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"})
    host = probe(root)
    assert host.governor == "powersave"
    assert "the CPU governor is powersave" in warnings(host, "cpu-x86-vnni")[0]


def test_clocks_are_locked_where_no_other_rate_is_allowed(tmp_path):
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    files = {f"{policy}/scaling_min_freq": "2000000\n", f"{policy}/scaling_max_freq": "2000000\n"}
    assert read_clocks(lay(tmp_path, files)).locked is True
    (tmp_path / policy / "scaling_min_freq").write_text("800000\n")
    assert read_clocks(tmp_path).locked is False
    assert read_clocks(tmp_path / "none").locked is None


def test_a_watch_tells_what_moved(tmp_path):
    root = lay(tmp_path, LAPTOP | {"sys/class/thermal/cooling_device0/type": "Processor\n"})
    state, fan = (root / f"sys/class/thermal/cooling_device{i}" for i in (0, 1))
    (state / "cur_state").write_text("0\n")
    lay(root, {"sys/class/thermal/cooling_device1/type": "pwm-fan\n"})
    (fan / "cur_state").write_text("1\n")
    watch = Watch(root)
    watch.start()
    (root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count").write_text("6\n")
    (state / "cur_state").write_text("2\n")
    (fan / "cur_state").write_text("4\n")
    conditions = watch.conditions()
    assert conditions is not None
    assert conditions.throttled == ["cpu0 core thermal: +2", "cooling by Processor (cooling_device0): +2"]
    assert "fan" not in " ".join(throttle_counts(root))


def test_a_machine_that_tells_nothing_has_no_conditions(tmp_path):
    watch = Watch(tmp_path)
    watch.start()
    assert watch.conditions() is None


def test_the_doctor_sees_a_jetson(tmp_path):
    from edgeprune.cli.doctor import lines

    found = abilities(ORIN_NANO.lay(tmp_path))
    assert found.target == "jetson-orin-nano"
    assert found.power is None
    assert found.rails == ["VDD_IN"]
    text = "\n".join(lines(found))
    assert "p3767-0005, Orin (tegra234), compute capability 8.7" in text
    assert "L4T 36.4.3, JetPack 6.2" in text
    assert "2 MAXN_SUPER (of 0 15W, 1 25W, 2 MAXN_SUPER, 3 7W)" in text
    assert "gpu 1020 MHz, not locked" in text
    assert "the board's power monitors (INA3221, INA238) (VDD_IN)" in text
