"""Target: what a device and its runtime can do, read from `targets/NAME.toml`.

Facts only: no wishes (those are in the recipe) and no measurements (those are in profiles). Every fact
carries its source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import Field

from edgeprune.errors import EdgepruneError
from edgeprune.spec.shipped import shipped
from edgeprune.spec.strict import Strict, read_toml

ALIASES = {"jetson-orin": "jetson-agx-orin"}

V = TypeVar("V")


class Fact(Strict, Generic[V]):
    """A value and where it was read."""

    value: V
    source: str = Field(min_length=4)


class Target(Strict):
    """What a device's runtime can execute."""

    name: str
    device: str
    kind: Literal["cpu", "jetson", "gpu"]
    runtime: Literal["onnxruntime", "tensorrt"]
    activations: Fact[Literal["unsigned", "signed"]]
    """INT8 codes of activations: 0..255 after a ReLU (ONNX Runtime), or symmetric -128..127 (TensorRT)."""
    weight_bits: Fact[Literal[7, 8]]
    """7 where 16-bit accumulation of byte products would saturate (x86 without VNNI)."""
    channel_multiple: Fact[int]
    """Widths are cut to multiples of this."""
    opset: Fact[int]
    precisions: Fact[list[Literal["fp32", "fp16", "bf16", "int8", "fp8", "fp4"]]]
    memory_gib: Fact[float] | None = None
    bandwidth_gb_s: Fact[float] | None = None
    int8_tops_dense: Fact[float] | None = None
    compute_capability: Fact[str] | None = None
    sparsity: Fact[Literal["2:4"]] | None = None
    dla_cores: Fact[int] | None = None
    power_w: Fact[float] | None = None
    software: Fact[list[str]] | None = None
    """Releases that a user of the device can have, newest last, as `JetPack 6.2 (TensorRT 10.3.0)`."""
    modules: Fact[list[str]] | None = None
    """For Jetsons: the part numbers by which the device tree names the modules that these facts are of."""
    architecture: Fact[Literal["x86_64", "aarch64"]] | None = None
    """For CPUs: of the machine, as `uname -m` says it."""
    cpu_flags: Fact[list[str]] | None = None
    """For CPUs: /proc/cpuinfo flags of which at least one must be there."""


def known_targets() -> list[str]:
    """Names of the shipped targets, sorted."""
    return sorted(path.stem for path in shipped("targets").glob("*.toml"))


def load_target(name: str) -> Target:
    """Read a shipped target by name or alias, or a target file by path.

    Raises:
        EdgepruneError: unknown name (the text lists the known ones) or a file that is not a sound target.
    """
    if name.endswith(".toml"):
        return read_toml(Target, Path(name))
    resolved = ALIASES.get(name, name)
    path = shipped("targets") / f"{resolved}.toml"
    if resolved not in known_targets():
        known = ", ".join(known_targets())
        raise EdgepruneError(f"unknown target {name!r}. Known: {known}; or give the path of a .toml file.")
    return read_toml(Target, path)
