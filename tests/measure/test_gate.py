"""Which device may build which bundle, and the reason where it may not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeprune.engine.trt.driver import Gpu
from edgeprune.engine.trt.release import parse_release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.errors import EdgepruneError
from edgeprune.measure.board import Board
from edgeprune.measure.gate import Device, gate
from edgeprune.measure.probe import Host
from edgeprune.spec.bundle import Manifest
from edgeprune.spec.target import load_target

NANO, NX, AGX = (f"NVIDIA Jetson {name} Developer Kit" for name in ("Orin Nano", "Orin NX", "AGX Orin"))


def _device(name: str, release: str, jetpack: str | None = None, capability: str = "8.7") -> Device:
    board = Board(None, None, None, None, jetpack, None, ())
    host = Host(name, "", (), 6, 8 << 30, (), None, board)
    return Device(host, Gpu("Orin", capability, 8 << 30, True, "12.6"), parse_release(release))


def _manifest(**more: Any) -> Manifest:
    return cast(Manifest, SimpleNamespace(**{"name": "mine", "runtime": "tensorrt", "precision": "int8"} | more))


def _refused(device: Device, target: str = "jetson-orin-nano", any_device: bool = False, **settings: Any) -> str:
    with pytest.raises(EdgepruneError) as fault:
        gate(_manifest(), load_target(target), device, BuildSettings(**settings), any_device=any_device)
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_the_target_itself_passes() -> None:
    for release, jetpack in (("10.3.0", "6.2"), ("10.16.2.10", "7.2-b12")):
        device = _device(NANO, release, jetpack)
        assert gate(_manifest(), load_target("jetson-orin-nano"), device, BuildSettings()) == []


def test_an_orin_nx_with_tensorrt_85_is_refused_with_the_reason() -> None:
    said = _refused(_device(NX, "8.5.2.2", "5.1"))
    assert "this is NVIDIA Jetson Orin NX Developer Kit, not Jetson Orin Nano 8GB" in said
    assert "TensorRT 8.5.2.2 of JetPack 5.1 is older than those of the target (10.3, 10.16)" in said


def test_tensorrt_11_on_jetpack_is_refused_with_the_reason() -> None:
    for jetpack in ("6.2", "7.2"):
        said = _refused(_device(NANO, "11.4.0.106", jetpack), any_device=True)
        assert "TensorRT 11.4.0.106 of JetPack" in said
        assert "from 11.4.1 on TensorRT 11 runs on JetPack 7.2.2 and later, on AGX Orin and Thor" in said
    assert "7.2.2" in _refused(_device(NANO, "11.4.1", "7.2.2"))  # not on an Orin Nano
    assert "from 11.4.1 on" in _refused(_device(AGX, "11.4.0.106", "7.2.2"), "jetson-agx-orin")
    notes = gate(
        _manifest(), load_target("jetson-agx-orin"), _device(AGX, "11.4.1", "7.2.2"), BuildSettings()
    )  # fmt: skip
    assert notes == ["TensorRT 11.4.1 is none of those that the target lists (10.3, 10.16)"]
    container = _device(AGX, "11.4.1.1", None)
    assert len(gate(_manifest(), load_target("jetson-agx-orin"), container, BuildSettings())) == 1


def test_a_board_that_does_not_call_itself_a_jetson_is_one() -> None:
    board = Board("p3767-0000", "Orin (tegra234)", "8.7", None, None, None, ())
    host = Host("NVIDIA Orin NX Developer Kit", "", (), 6, 8 << 30, (), None, board)
    device = Device(host, Gpu("Orin", "8.7", 8 << 30, True, "12.6"), parse_release("11.4.0.106"))
    assert "TensorRT 11.4.0.106 is not supported by NVIDIA" in _refused(device, "jetson-orin-nx")


def test_another_module_with_the_same_gpu_is_noted() -> None:
    notes = gate(_manifest(), load_target("jetson-orin-nano"), _device(NX, "10.3.0", "6.2"), BuildSettings())
    assert notes == ["this is NVIDIA Jetson Orin NX Developer Kit, not Jetson Orin Nano 8GB"]


def test_another_capability_is_refused_unless_any_device_will_do() -> None:
    desktop = Device(
        Host("x86_64 Linux", "", ("NVIDIA H200",), 16, 1 << 37, (), None),
        Gpu("NVIDIA H200", "9.0", 1 << 37, False, "12.8"), parse_release("10.13.3.9"),
    )  # fmt: skip
    said = _refused(desktop, "rtx-4090")
    assert "NVIDIA H200 has compute capability 9.0, and the target 8.9" in said
    assert "--any-device" in said
    notes = gate(_manifest(), load_target("rtx-4090"), desktop, BuildSettings(), any_device=True)
    assert "compute capability 9.0" in notes[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"version_compatible": True}, "--version-compatible is for desktop GPUs"),
        ({"strip_weights": True}, None),
        ({"sparse": True}, None),
    ],
)
def test_options_that_a_jetson_has_not(settings: dict[str, bool], words: str | None) -> None:
    device = _device(NANO, "10.3.0", "6.2")
    if words is None:
        assert gate(_manifest(), load_target("jetson-orin-nano"), device, BuildSettings(**settings)) == []
    else:
        assert words in _refused(device, **settings)


def test_a_bundle_for_onnx_runtime_is_sent_to_profile() -> None:
    with pytest.raises(EdgepruneError, match="edgeprune profile runs"):
        gate(
            _manifest(runtime="onnxruntime"), load_target("jetson-orin-nano"), _device(NANO, "10.3.0", "6.2"),
            BuildSettings(),
        )  # fmt: skip


def test_numbers_of_jetpack_without_the_build() -> None:
    assert _device(NANO, "10.13.3", "7.1-b40").jetpack == (7, 1)
    assert _device(NANO, "10.13.3", "6.2.1").software == "TensorRT 10.13.3 of JetPack 6.2.1"
    assert _device(NANO, "10.13.3", None).jetpack is None
