"""How fast a target is: by what was measured of it where something was, else by the peaks that its facts state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.spec.layer_costs import LayerCosts
from edgeprune.spec.profile import Profile
from edgeprune.spec.shipped import shipped
from edgeprune.spec.strict import parse, read_json
from edgeprune.spec.target import Target

TABLES = "layers"
"""The folder of tables of layer shapes, beside the profiles of a target."""


@dataclass(frozen=True)
class Peaks:
    macs_per_ms: float
    bytes_per_ms: float


@dataclass(frozen=True)
class Measured:
    """Of one target at one precision, newest first: profiles with layer times, and tables of layer shapes."""

    profiles: tuple[Profile, ...]
    tables: tuple[LayerCosts, ...]

    @property
    def threads(self) -> int | None:
        """Those of the newest."""
        if self.tables:
            return self.tables[0].threads
        return self.profiles[0].machine.threads if self.profiles else None

    def __bool__(self) -> bool:
        return bool(self.profiles or self.tables)


def peaks(target: Target, precision: str) -> Peaks | None:
    """A target's peaks at a precision, None where it states none; one multiply-add is two of a TOPS' operations."""
    tops, bandwidth = target.int8_tops_dense, target.bandwidth_gb_s
    if precision != "int8" or tops is None or bandwidth is None:
        return None
    return Peaks(tops.value * 1e12 / 2 / 1e3, bandwidth.value * 1e9 / 1e3)


def measured(target: Target, precision: str, file: str | None) -> Measured:
    """What was measured of a target: in a file, or the shipped files.

    Raises:
        EdgepruneError: the file holds nothing of the kind, or of another target or precision.
    """
    if file is None:
        folder = shipped("profiles") / target.name
        profiles = [read_json(Profile, path) for path in sorted(folder.glob("*.json"))]
        tables = [read_json(LayerCosts, path) for path in sorted((folder / TABLES).glob("*.json"))]
    else:
        profiles, tables = _read(Path(file), target, precision)
    tables += [profile.layer_costs for profile in profiles if profile.layer_costs is not None]
    fitting = [profile for profile in profiles if profile.layers and profile.precision == precision]
    return Measured(
        tuple(sorted(fitting, key=lambda profile: profile.date, reverse=True)),
        tuple(sorted((t for t in tables if t.precision == precision), key=lambda table: table.date, reverse=True)),
    )


def _read(path: Path, target: Target, precision: str) -> tuple[list[Profile], list[LayerCosts]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise EdgepruneError(f"{path}: not valid JSON ({error}).") from None
    kind: type[Profile] | type[LayerCosts] = LayerCosts if isinstance(data, dict) and "grids" in data else Profile
    found = parse(kind, data, str(path))
    if found.target != target.name:
        raise EdgepruneError(f"{path}: was measured for {found.target}, not {target.name}. Give one of this target.")
    if found.precision != precision:
        raise EdgepruneError(f"{path}: was measured in {found.precision}, not {precision}. Give one in {precision}.")
    if isinstance(found, LayerCosts):
        return [], [found]
    if not found.layers and found.layer_costs is None:
        raise EdgepruneError(f"{path}: holds no layer times. Measure on a runtime that tells them.")
    return [found], []


def check_latency(target: Target, precision: str, file: str | None) -> None:
    """Refuse a limit on milliseconds where nothing is known to count them with.

    Raises:
        EdgepruneError: in one line, what is missing.
    """
    if measured(target, precision, file) or peaks(target, precision) is not None:
        return
    facts = {"int8_tops_dense": target.int8_tops_dense, "bandwidth_gb_s": target.bandwidth_gb_s}
    missing = " and ".join(name for name, fact in facts.items() if fact is None) or f"peak in {precision}"
    raise EdgepruneError(
        f"--latency-ms: {target.name} states no {missing}, and there is no profile of it with layer times. "
        "Limit --macs instead, or give --latency-profile."
    )
