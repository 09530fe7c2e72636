"""What this machine can do: which packages are here, and which commands they let run.

Packages are looked up in the installed metadata and not imported: torch alone takes seconds. What each
command needs is read from edgeprune's own metadata, so that pyproject.toml stays the one place that says it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
from pathlib import Path
from typing import Any

from edgeprune import __version__
from edgeprune.engine.runner import offered
from edgeprune.engine.trt import load as tensorrt
from edgeprune.engine.trt.driver import first_gpu
from edgeprune.errors import EdgepruneError
from edgeprune.measure.clocks import clocks_mhz, temperatures_c, throttle_counts
from edgeprune.measure.match import device_targets, warnings
from edgeprune.measure.power import find_sensor
from edgeprune.measure.probe import Host, probe
from edgeprune.measure.sensors.nvml import find_nvml
from edgeprune.measure.software import installed, system_versions
from edgeprune.spec.machine import PowerMode
from edgeprune.spec.strict import Strict

SHOWN = ("numpy", "onnxruntime", "onnx", "onnxscript", "torch", "tensorrt", "pycuda", "cuda-bindings")
EXTRAS: dict[str, str | None] = {
    "compress": "host",
    "prune": "host",
    "quantize": "host",
    "export": "host",
    "diagnose": "host",
    "inspect": "host",
    "curvature": "host",
    "lint": "host",
    "profile": "cpu",
    "report": None,
    "package": None,
    "verify": None,
    "unpack": None,
    "targets": None,
    "doctor": None,
}
"""The extra of pyproject.toml that each command needs on top of the base."""
OPTIONS = {"profile --data": "pillow", "profile: GPU power": "nvidia-ml-py"}
"""What needs a package more."""


class Ability(Strict):
    """Whether a command can run here, and if not, what is missing and how to get it."""

    works: bool
    missing: list[str]
    install: str | None


class Abilities(Strict):
    """What a machine says of itself. None or empty: it does not tell."""

    python: str
    edgeprune: str
    versions: dict[str, str | None]
    """None: not installed."""
    device: str
    processor: str
    cores: int
    memory_bytes: int
    gpus: list[str]
    cpu_flags: list[str]
    governor: str | None
    target: str | None
    """The shipped target that this machine is, that of its accelerator before that of its CPU."""
    targets: list[str]
    module: str | None
    soc: str | None
    compute_capability: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: PowerMode | None
    power_modes: list[PowerMode]
    clocks_locked: bool | None
    gpu_governor: str | None
    clocks_mhz: dict[str, float]
    temperatures_c: dict[str, float]
    throttled: dict[str, float]
    """Counters and states of slowing down that are not at zero."""
    runtimes: list[str]
    """Those that `profile --runtime` can take here."""
    power: str | None
    """Why power cannot be measured here."""
    power_sensor: str | None
    rails: list[str]
    """Whose sum is the total."""
    warnings: list[str]
    commands: dict[str, Ability]
    options: dict[str, Ability]
    """What a command can do besides, with a package more."""


def abilities(root: Path = Path("/")) -> Abilities:
    """Look this machine over."""
    host = probe(root)
    targets = device_targets(host)
    sensor = find_sensor(root)
    if isinstance(sensor, str) and host.gpus:
        gpu = find_nvml()
        sensor = gpu if not isinstance(gpu, str) else f"{sensor}; {gpu}"
    about = None if isinstance(sensor, str) else sensor.about
    return Abilities(
        python=platform.python_version(),
        edgeprune=__version__,
        versions={package: installed(package) for package in SHOWN} | dict(system_versions(root)),
        target=targets[0] if targets else None,
        targets=targets,
        runtimes=list(offered()),
        power=sensor if isinstance(sensor, str) else None,
        power_sensor=about.name if about is not None else None,
        rails=list(about.total) if about is not None else [],
        warnings=warnings(host, targets[0]) if targets else [],
        commands={command: ability(extra) for command, extra in EXTRAS.items()}
        | {"build": build_ability(), "deploy": _program("ssh")},
        options={option: _option(package) for option, package in OPTIONS.items()}
        | {"package --sign": _program("ssh-keygen")},
        **_state(host, root),
    )


def _state(host: Host, root: Path) -> dict[str, Any]:
    """The fields that are the machine's own."""
    board, clocks = host.board, host.clocks
    return {
        "device": host.device,
        "processor": host.processor,
        "cores": host.cores,
        "memory_bytes": host.memory_bytes,
        "gpus": list(host.gpus),
        "cpu_flags": list(host.flags),
        "governor": host.governor,
        "module": board.module if board is not None else None,
        "soc": board.soc if board is not None else None,
        "compute_capability": board.compute_capability if board is not None else None,
        "l4t": board.l4t if board is not None else None,
        "jetpack": board.jetpack if board is not None else None,
        "power_mode": board.power_mode if board is not None else None,
        "power_modes": list(board.modes) if board is not None else [],
        "clocks_locked": clocks.locked if clocks is not None else None,
        "gpu_governor": clocks.gpu_governor if clocks is not None else None,
        "clocks_mhz": clocks_mhz(root),
        "temperatures_c": temperatures_c(root),
        "throttled": {name: value for name, value in throttle_counts(root).items() if value > 0},
    }


def _option(package: str) -> Ability:
    version = installed(package)
    return Ability(
        works=version is not None,
        missing=[] if version is not None else [package],
        install=None if version is not None else f"pip install {package}",
    )


def _program(name: str) -> Ability:
    """Of the OpenSSH client."""
    there = shutil.which(name) is not None
    install = None if there else "sudo apt install openssh-client, or the like"
    return Ability(works=there, missing=[] if there else [name], install=install)


def ability(extra: str | None) -> Ability:
    """Say whether the requirements of an extra are met."""
    required = _requirements()
    own = [line.split(";")[0].strip() for line in required if extra and f'extra == "{extra}"' in _quoted(line)]
    missing = [line for line in own if not met(line)]
    return Ability(works=not missing, missing=missing, install=f"pip install 'edgeprune[{extra}]'" if missing else None)


def build_ability() -> Ability:
    """Say whether engines can be built: TensorRT and the GPU are no requirements of a package's metadata."""
    found, gpu = ability("tensorrt"), first_gpu()
    missing = [line for line in found.missing if not (line.startswith("cuda-bindings") and installed("pycuda"))]
    extra = found.install if missing else None
    missing += [] if tensorrt.installed() else ["TensorRT"]
    missing += [f"a CUDA device ({gpu})"] if isinstance(gpu, str) else []
    # A package helps where it is all that is missing; without a device nothing that is installed does.
    return Ability(works=not missing, missing=missing, install=extra or (tensorrt.GET if missing else None))


def met(requirement: str) -> bool:
    """Whether a requirement such as `torch<2.14,>=2.10` is installed; release numbers only."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    version = installed(name[0]) if name else None
    if version is None:
        return False
    here = _release(version)
    for sign, bound in re.findall(r"(>=|<)\s*([0-9.]+)", requirement):
        if (here < _release(bound)) if sign == ">=" else (here >= _release(bound)):
            return False
    return True


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("edgeprune") or []
    except importlib.metadata.PackageNotFoundError:
        raise EdgepruneError("edgeprune runs from a folder and is not installed. pip install that folder.") from None


def _release(version: str) -> tuple[int, ...]:
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _quoted(line: str) -> str:
    """Metadata writers differ in their quotes."""
    return line.replace("'", '"')
