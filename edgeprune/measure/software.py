"""Versions of what decides the figures: Python's packages, and what the system holds beside them."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path

from edgeprune import __version__
from edgeprune.measure.facts import field, text

PACKAGES = ("numpy", "onnxruntime", "tensorrt", "pycuda", "cuda-python", "nvidia-ml-py", "pillow")
STAND_INS = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino"),
    "tensorrt": ("tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu12-bindings", "tensorrt-cu13-bindings"),
    "cuda-python": ("cuda-bindings",),
}
"""Other distributions of the same importable package."""
DEBIAN = {"TensorRT (system)": "libnvinfer-bin", "cuDNN (system)": "libcudnn9-cuda-12"}
"""Packages whose version is that of a library."""


def installed(package: str) -> str | None:
    """Return a Python package's installed version, or that of a stand-in; None where there is none."""
    for name in (package, *STAND_INS.get(package, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def versions(root: Path = Path("/")) -> dict[str, str]:
    """Everything that is installed, by name."""
    found = {"python": platform.python_version(), "edgeprune": __version__, "system": platform.platform()}
    found |= {package: version for package in PACKAGES if (version := installed(package)) is not None}
    return found | system_versions(root)


def system_versions(root: Path = Path("/")) -> dict[str, str]:
    """What is no Python package: the driver, CUDA, and NVIDIA's libraries as Debian packages."""
    found = {}
    driver = field(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", text(root / "proc/driver/nvidia/version"))
    if driver is not None:
        found["NVIDIA driver"] = driver
    cuda = _cuda(root / "usr/local/cuda/version.json")
    if cuda is not None:
        found["CUDA"] = cuda
    status = text(root / "var/lib/dpkg/status")
    for name, package in DEBIAN.items():
        version = debian_version(status, package)
        if version is not None:
            found[name] = version
    return found


def debian_version(status: str, package: str) -> str | None:
    """The version of a package in dpkg's status file, without what follows a plus."""
    start = f"\n{status}".find(f"\nPackage: {package}\n")
    if start < 0:
        return None
    entry = status[start:].split("\n\n", 1)[0]
    version = field(r"^Version:\s*(\S+)", entry)
    return version.split("+")[0] if version is not None else None


def _cuda(path: Path) -> str | None:
    try:
        told = json.loads(text(path) or "{}").get("cuda", {})
    except (ValueError, AttributeError):
        return None
    return str(told["version"]) if isinstance(told, dict) and "version" in told else None
