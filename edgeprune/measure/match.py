"""Whether a machine is the device that a target describes, and if not, why."""

from __future__ import annotations

import re

from edgeprune.errors import EdgepruneError
from edgeprune.measure.probe import VNNI, Host, probe
from edgeprune.spec.bundle import Manifest
from edgeprune.spec.target import ALIASES, Target, known_targets, load_target


def host_target(host: Host | None = None) -> str:
    """Name the shipped CPU target that a machine is; this machine by default.

    Raises:
        EdgepruneError: a CPU that no shipped target describes.
    """
    flags = set((host or probe()).flags)
    if VNNI & flags:
        return "cpu-x86-vnni"
    if "avx2" in flags:
        return "cpu-x86-avx2"
    if "asimddp" in flags:
        return "cpu-arm64"
    raise EdgepruneError(
        "this CPU has none of AVX2, VNNI and the Arm dot product, so no shipped target describes it. "
        "Name one with --target."
    )


def device_targets(host: Host) -> list[str]:
    """Name the shipped targets that a machine is, its accelerator's first."""
    targets = [load_target(name) for name in known_targets()]
    fitting = [target for target in targets if mismatch(host, target) is None]
    return [target.name for target in sorted(fitting, key=lambda target: target.kind == "cpu")]


def mismatch(host: Host, target: Target) -> str | None:
    """Say what sets a machine apart from a target; None where it is that target."""
    if target.kind == "cpu":
        return _cpu_mismatch(host, target)
    if target.kind == "jetson":
        return _jetson_mismatch(host, target)
    # At the end of the name: `RTX 4070 Ti` and `RTX 4070 Laptop GPU` are other GPUs.
    model = target.name.replace("-", " ").upper()
    if any(gpu.endswith(model) for gpu in host.gpus):
        return None
    return f"this machine has {', '.join(host.gpus) or 'no NVIDIA GPU'}, not {target.device}"


def target_mismatch(host: Host, name: str) -> str | None:
    """Like `mismatch`, for the target that a bundle names."""
    if ALIASES.get(name, name) not in known_targets():
        return f"target {name} does not ship with this version, so there is nothing to compare this machine with"
    return mismatch(host, load_target(name))


def warnings(host: Host, name: str) -> list[str]:
    """What makes a machine that is the target slower or different from what is known of it, in words."""
    found = []
    clocks, board = host.clocks, host.board
    if clocks is not None and clocks.governor not in (None, "performance"):
        found.append(f"the CPU governor is {clocks.governor}: clocks follow the load, so short runs are slower")
    if board is not None:
        if clocks is not None and clocks.locked is False:
            found.append("the clocks are not locked (sudo jetson_clocks locks them)")
        mode, unlimited = board.power_mode, [mode.name for mode in board.modes if mode.name.startswith("MAXN")]
        if mode is not None and unlimited and mode.name not in unlimited:
            found.append(f"power mode {mode.name} caps the clocks; the stated peaks are those of {unlimited[0]}")
        stated = load_target(name).software if ALIASES.get(name, name) in known_targets() else None
        if board.jetpack is not None and stated is not None and not _listed(board.jetpack, stated.value):
            found.append(f"JetPack {board.jetpack} is none of those that the target lists: {', '.join(stated.value)}")
    return found


def _listed(jetpack: str, software: list[str]) -> bool:
    """`6.2.1` is a `JetPack 6.2`."""
    release = ".".join(jetpack.split("-")[0].split(".")[:2])
    return any(entry.startswith(f"JetPack {release} ") for entry in software)


def _jetson_mismatch(host: Host, target: Target) -> str | None:
    """By the module of the device tree where both tell it, else by the words of the board's name."""
    if host.board is not None and host.board.module is not None and target.modules is not None:
        if host.board.module in target.modules.value:
            return None
        return f"this is {host.device} (module {host.board.module}), not {target.device}"
    words = target.name.removeprefix("jetson-").split("-")
    found = set(re.findall(r"[a-z0-9]+", host.device.lower()))
    return None if {"jetson", *words} <= found else f"this is {host.device}, not {target.device}"


def saturates(host: Host, manifest: Manifest) -> bool:
    """Whether a machine's fast U8S8 kernels would clip sums of a bundle's byte products at 16 bits."""
    wide = manifest.weight_bits == 8 and manifest.precision == "int8"
    return host.lacks_vnni and wide and manifest.lowering == "onnxruntime"


def _cpu_mismatch(host: Host, target: Target) -> str | None:
    needed = target.cpu_flags.value if target.cpu_flags else []
    if needed and not set(needed) & set(host.flags):
        return f"this CPU has none of {', '.join(needed)}"
    if target.name in known_targets() and (here := host_target(host)) != target.name:
        return f"this CPU is a {here}, so its speed is not that of {target.name}"
    return None
