"""What this machine can do: which packages are here, and which commands they let run.

Packages are looked up in the installed metadata and not imported: torch alone takes seconds. What each
command needs is read from edgeprune's own metadata, so that pyproject.toml stays the one place that says it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.measure.match import host_target
from edgeprune.measure.power import measure_power
from edgeprune.measure.probe import probe
from edgeprune.spec.strict import Strict

SHOWN = ("numpy", "onnxruntime", "onnx", "onnxscript", "torch", "tensorrt", "pycuda")
EXTRAS: dict[str, str | None] = {
    "compress": "host",
    "prune": "host",
    "quantize": "host",
    "export": "host",
    "inspect": "host",
    "profile": "cpu",
    "deploy": None,
    "report": None,
    "targets": None,
    "doctor": None,
}
"""The extra of pyproject.toml that each command needs on top of the base."""
STAND_INS = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino")}
"""Other distributions of the same importable package."""


class Ability(Strict):
    """Whether a command can run here, and if not, what is missing and how to get it."""

    works: bool
    missing: list[str]
    install: str | None


class Abilities(Strict):
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
    """The shipped CPU target that this machine is."""
    power: str
    commands: dict[str, Ability]


def abilities() -> Abilities:
    """Look this machine over."""
    host = probe()
    try:
        target = host_target(host)
    except EdgepruneError:
        target = None
    return Abilities(
        python=platform.python_version(),
        edgeprune=__version__,
        versions={package: installed(package) for package in SHOWN},
        device=host.device,
        processor=host.processor,
        cores=host.cores,
        memory_bytes=host.memory_bytes,
        gpus=list(host.gpus),
        cpu_flags=list(host.flags),
        governor=host.governor,
        target=target,
        power=str(measure_power().reason),
        commands={command: ability(extra) for command, extra in EXTRAS.items()},
    )


def installed(package: str) -> str | None:
    """Return a package's installed version, or that of a stand-in; None where there is none."""
    for name in (package, *STAND_INS.get(package, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def ability(extra: str | None) -> Ability:
    """Say whether the requirements of an extra are met."""
    required = _requirements()
    own = [line.split(";")[0].strip() for line in required if extra and f'extra == "{extra}"' in _quoted(line)]
    missing = [line for line in own if not met(line)]
    return Ability(works=not missing, missing=missing, install=f"pip install 'edgeprune[{extra}]'" if missing else None)


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
