"""What a Jetson says of itself: module, SoC, software release, and power mode.

The module is in the device tree (`nvidia,p3767-0005`), the release in /etc/nv_tegra_release, the modes in
/etc/nvpmodel.conf: their ids differ by board, and by whether the image is a "super" one, so none is assumed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeprune.measure.facts import field, text
from edgeprune.measure.software import debian_version
from edgeprune.spec.machine import PowerMode

SOCS = {"tegra234": ("Orin (tegra234)", "8.7"), "tegra264": ("Thor (tegra264)", "11.0")}
"""SoC of the device tree -> its name, and its GPU's compute capability (NVIDIA, "CUDA GPU Compute Capability")."""
MODULE = re.compile(r"\b(p\d{4}-\d{4})\b")
CARRIERS = {"p3768", "p3737", "p3740", "p3971"}
"""Carrier boards of the developer kits, which `compatible` names with the module (`p3768-0000+p3767-0005-super`)."""
MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", re.MULTILINE)
QUERY_S = 5
JETPACKS = {
    "35": "5.1", "36.2": "6.0", "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "36.4.7": "6.2.1",
    "36.5": "6.2.2", "38.2": "7.0", "38.4": "7.1", "39.2": "7.2",
}  # fmt: skip
"""Release of Jetson Linux -> JetPack (NVIDIA's JetPack archive, and the L4T releases of OE4T/meta-tegra)."""


@dataclass(frozen=True)
class Board:
    """A Jetson. None: it does not tell."""

    module: str | None
    soc: str | None
    compute_capability: str | None
    l4t: str | None
    """`36.4.3`."""
    jetpack: str | None
    """`6.2`, or with the build behind it (`7.1-b40`); by its package, else by the release of its Linux."""
    power_mode: PowerMode | None
    modes: tuple[PowerMode, ...]


def read_board(root: Path = Path("/")) -> Board | None:
    """Read a Jetson's description; None on any other machine. A container may show the release and no device tree."""
    compatible = text(root / "proc/device-tree/compatible").split("\0")
    chip = next((entry.removeprefix("nvidia,") for entry in compatible if entry.startswith("nvidia,tegra")), None)
    release = _release(text(root / "etc/nv_tegra_release"))
    if chip is None and release is None:
        return None
    boards = [found for entry in compatible for found in MODULE.findall(entry)]
    modules = [board for board in boards if board[:5] not in CARRIERS]
    name, capability = SOCS.get(chip or "", (chip, None))
    modes = power_modes(text(root / "etc/nvpmodel.conf"))
    return Board(
        module=modules[0] if modules else None,
        soc=name,
        compute_capability=capability,
        l4t=release,
        jetpack=debian_version(text(root / "var/lib/dpkg/status"), "nvidia-jetpack") or _jetpack(release),
        power_mode=_current(root, modes),
        modes=modes,
    )


def power_modes(conf: str) -> tuple[PowerMode, ...]:
    """The modes that an nvpmodel.conf defines, as `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`."""
    return tuple(PowerMode(id=int(id_), name=name) for id_, name in MODE.findall(conf))


def _current(root: Path, modes: tuple[PowerMode, ...]) -> PowerMode | None:
    """The mode in force: nvpmodel keeps its id in a file, and tells it itself where that file is elsewhere."""
    kept = field(r"pmode:\s*(\d+)", text(root / "var/lib/nvpmodel/status"))
    if kept is not None:
        return next((mode for mode in modes if mode.id == int(kept)), PowerMode(id=int(kept), name=f"id {int(kept)}"))
    return _asked() if root == Path("/") else None


def _asked() -> PowerMode | None:
    """`nvpmodel -q` prints `NV Power Mode: NAME`, and the id on a line of its own."""
    if shutil.which("nvpmodel") is None:
        return None
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    name, id_ = field(r"^NV Power Mode:\s*(\S+)", done.stdout), field(r"^(\d+)\s*$", done.stdout)
    return PowerMode(id=int(id_), name=name) if name is not None and id_ is not None else None


def _release(line: str) -> str | None:
    """`# R36 (release), REVISION: 4.3, ...` is 36.4.3."""
    found = re.match(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", line)
    return f"{found[1]}.{found[2]}" if found else None


def _jetpack(release: str | None) -> str | None:
    known = [entry for entry in JETPACKS if f"{release}.".startswith(f"{entry}.")]
    return JETPACKS[max(known, key=len)] if known else None
