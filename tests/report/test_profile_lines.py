"""What a profile's terminal table says of power, ratios, predictions and accuracy."""

from __future__ import annotations

import pytest

from edgeprune.report.compare import compare_profiles
from edgeprune.report.layer_costs import off_multiple_line
from edgeprune.report.profile_lines import profile_lines
from edgeprune.spec.layer_costs import Family, Grid, LayerCosts
from edgeprune.spec.machine import Conditions, PowerMode, Span
from edgeprune.spec.power import Interval, Power
from edgeprune.spec.profile import DeviceAccuracy, Ratio
from tests.report.conftest import profile

POWER = Power(
    measured=True,
    mean_w=7.518,
    energy_per_inference_mj=37.6,
    sensor="the board's power monitors (INA3221, INA238)",
    rails_included=["VDD_IN"],
    rails_w={"VDD_IN": 7.518, "VDD_SOC": 1.623},
    gross_mj=Interval(value=37.6, ci=(37.1, 38.2)),
    net_mj=Interval(value=17.2, ci=(16.5, 18.0)),
    idle_w=4.08,
)


def lines(**fields: object) -> dict[str, str]:
    made = profile(1.0).model_copy(update=fields)
    return dict(profile_lines(made))


def test_energy_gross_and_net_with_the_rails_that_count() -> None:
    text = lines(power=POWER)["power"]
    assert text.splitlines() == [
        "7.52 W (VDD_IN), by the board's power monitors (INA3221, INA238)",
        "37.60 mJ [37.10, 38.20] per image, 17.20 mJ [16.50, 18.00] net of the idle 4.08 W",
        "beside it: VDD_SOC 1.62 W",
    ]
    assert lines()["power"] == "not measured: no sensor"
    notes = compare_profiles([profile(1.0).model_copy(update={"power": POWER})]).notes
    assert "net: 7.52 W (VDD_IN), 37.60 mJ per image, 17.20 mJ net of the idle machine" in notes


@pytest.mark.parametrize(
    ("ci", "verdict"),
    [((0.95, 0.97), "faster"), ((1.02, 1.05), "slower"), ((0.99, 1.02), "no difference that shows")],
)
def test_a_ratio_says_what_its_interval_allows(ci: tuple[float, float], verdict: str) -> None:
    ratio = Ratio(
        against="other",
        against_model_sha256="2" * 64,
        ratio=Interval(value=sum(ci) / 2, ci=ci),
        pairs=120,
        loads=10,
        p50=1.0,
        against_p50=1.1,
    )
    assert f"of the latency of other: {verdict}" in lines(ratio=ratio)["ratio"]


def test_predicted_beside_measured() -> None:
    assert lines(predicted_ms=0.8, predicted_from="a table")["predicted"] == "0.800 ms, measured +25 %\nby a table"
    assert "predicted" not in lines()


def test_a_busy_machine_is_told() -> None:
    def text(share: float | None) -> str:
        conditions = Conditions(readings=1, clocks_mhz={}, temperatures_c={}, throttled=[], waited_share=share)
        return lines(machine=profile(1.0).machine.model_copy(update={"conditions": conditions})).get("mind", "")

    assert text(0.31) == "the machine was busy: 31 % of the time the calls waited for other processes"
    assert text(0.01) == text(None) == ""


def test_accuracy_on_the_machine_beside_that_of_the_export() -> None:
    same = DeviceAccuracy(value=0.916, standard_error=0.003, count=10_000, skipped=2, data="test", data_sha256="0" * 64)
    text = lines(measured_accuracy=same)["accuracy"]
    assert text == ("91.60 ± 0.30 % of 10000 images in test/, 2 unreadable\n91.85 ± 0.27 % when it was exported")
    other = same.model_copy(update={"value": 0.8})
    assert lines(measured_accuracy=other)["accuracy"].endswith(": another accuracy, or other images")


def test_the_machine_s_state_and_what_slowed_it() -> None:
    base = profile(1.0)
    conditions = Conditions(
        readings=3,
        clocks_mhz={"gpu": Span(first=1020, lowest=306, highest=1020)},
        temperatures_c={},
        throttled=["heat"],
    )
    machine = base.machine.model_copy(
        update={"power_mode": PowerMode(id=2, name="MAXN"), "jetpack": "6.2", "conditions": conditions}
    )
    found = lines(machine=machine.model_copy(update={"warnings": ("the clocks are not locked",)}))
    assert found["machine"].endswith("JetPack 6.2, power mode MAXN")
    assert found["throttled"] == "heat"
    assert found["mind"] == "the clocks are not locked"


def test_what_half_a_block_of_channels_costs() -> None:
    family = Family(op="conv", kernel=(3, 3), padding=(1, 1), height=8, width=8)
    grid = Grid(family=family, inputs=(8,), outputs=(16, 24, 32), ms=((1.0, 1.9, 2.0),))
    costs = LayerCosts(
        target="cpu-x86-vnni", device="d", processor="p", precision="int8", runtime="r", threads=1, date="d",
        edgeprune_version="0.1.0", multiple=16, rounds=3, grids=(grid,),
    )  # fmt: skip
    assert (
        off_multiple_line(costs)
        == "3 shapes of 1 kinds; outputs off the multiple of 16 take 0.95 of the time of the next"
    )
