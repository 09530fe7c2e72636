"""How fast a target is: by measured layer times where there are some, else by the peaks that its facts state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.spec.profile import Profile
from edgeprune.spec.shipped import shipped
from edgeprune.spec.strict import read_json
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Peaks:
    macs_per_ms: float
    bytes_per_ms: float


def peaks(target: Target, precision: str) -> Peaks | None:
    """A target's peaks at a precision, None where it states none; one multiply-add is two of a TOPS' operations."""
    tops, bandwidth = target.int8_tops_dense, target.bandwidth_gb_s
    if precision != "int8" or tops is None or bandwidth is None:
        return None
    return Peaks(tops.value * 1e12 / 2 / 1e3, bandwidth.value * 1e9 / 1e3)


def layer_times(target: Target, precision: str, file: str | None) -> list[Profile]:
    """Profiles of the target at that precision that have layer times, newest first: of a file, or the shipped ones.

    Raises:
        EdgepruneError: the file is no such profile.
    """
    if file is None:
        found = [read_json(Profile, path) for path in sorted(shipped("profiles").glob(f"{target.name}/*.json"))]
        fitting = [profile for profile in found if profile.layers and profile.precision == precision]
        return sorted(fitting, key=lambda profile: profile.date, reverse=True)
    profile = read_json(Profile, Path(file))
    if profile.target != target.name:
        raise EdgepruneError(f"{file}: was measured for {profile.target}, not {target.name}. Give one of this target.")
    if profile.precision != precision:
        raise EdgepruneError(f"{file}: was measured in {profile.precision}, not {precision}. Give one in {precision}.")
    if not profile.layers:
        raise EdgepruneError(f"{file}: holds no layer times. Measure on a runtime that tells them.")
    return [profile]


def check_latency(target: Target, precision: str, file: str | None) -> None:
    """Refuse a limit on milliseconds where nothing is known to count them with.

    Raises:
        EdgepruneError: in one line, what is missing.
    """
    if layer_times(target, precision, file) or peaks(target, precision) is not None:
        return
    facts = {"int8_tops_dense": target.int8_tops_dense, "bandwidth_gb_s": target.bandwidth_gb_s}
    missing = " and ".join(name for name, fact in facts.items() if fact is None) or f"peak in {precision}"
    raise EdgepruneError(
        f"--latency-ms: {target.name} states no {missing}, and there is no profile of it with layer times. "
        "Limit --macs instead, or give --latency-profile."
    )
