"""Whether a bundle may be built here, said before TensorRT is loaded: device, release, JetPack, precision, options."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeprune.engine.trt.driver import Gpu
from edgeprune.engine.trt.release import Release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.errors import EdgepruneError
from edgeprune.measure.match import mismatch
from edgeprune.measure.probe import Host
from edgeprune.spec.bundle import Manifest
from edgeprune.spec.target import Target

JETPACK_WITH_11, ELEVEN_ON_JETPACK = (7, 2, 2), (11, 4, 1)
"""NVIDIA, TensorRT 11.4.1 documentation: the first JetPack that takes a TensorRT 11, which one that is, ..."""
BOARDS_WITH_11 = ("agx orin", "thor")
"""... and on which boards."""
Version = tuple[int, ...]
STRIP_SINCE, COMPATIBLE_SINCE = (10, 0), (8, 6)


@dataclass(frozen=True)
class Device:
    """The machine, its first GPU, and the software on it."""

    host: Host
    gpu: Gpu
    release: Release

    @property
    def jetpack(self) -> Version | None:
        """(6, 2, 1); None on other machines, or where nothing tells it."""
        board = self.host.board
        numbers = re.match(r"\d+(\.\d+)*", board.jetpack or "") if board is not None else None
        return tuple(int(part) for part in numbers[0].split(".")) if numbers is not None else None

    @property
    def jetson(self) -> bool:
        named = "jetson" in self.host.device.lower()  # some boards only call themselves NVIDIA Orin NX
        return self.jetpack is not None or self.host.board is not None or named

    @property
    def software(self) -> str:
        name = f"TensorRT {self.release}"
        return name if self.jetpack is None else f"{name} of JetPack {'.'.join(map(str, self.jetpack))}"


def gate(
    manifest: Manifest, target: Target, device: Device, settings: BuildSettings, *, any_device: bool = False
) -> list[str]:
    """Say what sets a device apart from a bundle's target where that does not matter.

    Args:
        manifest: of the bundle.
        target: the device that it was made for.
        device: this one.
        settings: what is asked of the build.
        any_device: build for this device although it is not the target.

    Raises:
        EdgepruneError: where it does matter; all reasons are in the one line.
    """
    foreign = _foreign(target, device)
    refused = _cannot(manifest, target, device, settings) + ([] if any_device else foreign)
    module = mismatch(device.host, target) if target.kind == "jetson" else None
    if refused:
        reasons = "; ".join(([module] if module else []) + refused)
        hint = "" if any_device or not foreign else " --any-device builds all the same where only the device differs."
        raise EdgepruneError(f"{manifest.name} is for {target.device}: {reasons}. Build it on its target.{hint}")
    notes = [*foreign, *([module] if module else [])]
    listed = _listed(target)
    if listed and device.release.short not in listed:
        notes.append(f"TensorRT {device.release} is none of those that the target lists ({_words(listed)})")
    return notes


def _foreign(target: Target, device: Device) -> list[str]:
    """What makes another device of it."""
    reasons = []
    stated = target.compute_capability
    if stated is not None and stated.value != device.gpu.capability:
        reasons.append(
            f"{device.gpu.name} has compute capability {device.gpu.capability}, and the target {stated.value}"
        )
    listed = _listed(target)
    if target.kind == "jetson" and listed and device.release.short < min(listed):
        reasons.append(f"{device.software} is older than those of the target ({_words(listed)})")
    return reasons


def _cannot(manifest: Manifest, target: Target, device: Device, settings: BuildSettings) -> list[str]:
    """What no option mends but another one."""
    reasons = []
    if manifest.runtime != "tensorrt":
        reasons.append("it speaks ONNX Runtime's dialect, which edgeprune profile runs")
    if device.jetson and device.release.major >= 11 and not _has_11(device):
        reasons.append(
            f"{device.software} is not supported by NVIDIA; from 11.4.1 on TensorRT 11 runs on JetPack 7.2.2 and "
            "later, on AGX Orin and Thor"
        )
    precisions = target.precisions.value
    if manifest.precision == "int8" and "int8" not in precisions:
        reasons.append("the target has no INT8")
    if settings.fp16 and "fp16" not in precisions:
        reasons.append("the target has no FP16: give --no-fp16")
    if settings.sparse and target.sparsity is None:
        reasons.append("the target has no 2:4 kernels: leave --sparse out")
    if settings.strip_weights and device.release.short < STRIP_SINCE:
        reasons.append(f"TensorRT {device.release} has no --strip-weights, which came with 10.0")
    if settings.version_compatible and (device.jetson or device.release.short < COMPATIBLE_SINCE):
        reasons.append("--version-compatible is for desktop GPUs, from TensorRT 8.6 on")
    return reasons


def _has_11(device: Device) -> bool:
    release = (device.release.major, device.release.minor, device.release.patch)
    old = device.jetpack is not None and device.jetpack < JETPACK_WITH_11  # a container may not tell it
    board = any(name in device.host.device.lower() for name in BOARDS_WITH_11)
    return release >= ELEVEN_ON_JETPACK and board and not old


def _listed(target: Target) -> list[tuple[int, int]]:
    """Releases of TensorRT in the target's software, oldest first."""
    entries = target.software.value if target.software is not None else []
    found = (re.search(r"TensorRT (\d+)\.(\d+)", entry) for entry in entries)
    return sorted({(int(match[1]), int(match[2])) for match in found if match})


def _words(releases: list[tuple[int, int]]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in releases)
