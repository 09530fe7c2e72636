"""Comparison: results and profiles laid side by side, as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from edgeprune.errors import EdgepruneError
from edgeprune.report import figures
from edgeprune.report.allocation import allocation_lines
from edgeprune.report.profile_lines import busy, predicted_text
from edgeprune.report.spectrum import spectrum_lines
from edgeprune.spec.profile import Profile
from edgeprune.spec.result import Result, Stats
from edgeprune.spec.strict import Strict, parse, read_json

RESULT = "result.json"


class Row(Strict):
    """One network's figures; None where something was not measured."""

    label: str
    accuracy: float | None
    accuracy_se: float | None
    macs: int
    params: int
    onnx_bytes: int
    latency_ms_p50: float | None
    speed_up: float | None
    """Over the first row; None where the two were not measured alike."""
    int8_macs_share: float | None


class Comparison(Strict):
    title: str
    rows: list[Row]
    notes: list[str]
    plot: list[str] = Field(default_factory=list)
    """Lines of a diagram, to be shown as they are."""


def read_comparisons(paths: Sequence[Path]) -> list[Comparison]:
    """Read RUN folders, result files, profile files and folders of them: a comparison per run, one of all profiles.

    Profiles come in the order of their dates where there are several in a folder.

    Raises:
        EdgepruneError: a path that is none of these.
    """
    found = [_read(file) for path in paths for file in _files(path)]
    runs = [compare_result(item) for item in found if isinstance(item, Result)]
    profiles = [item for item in found if isinstance(item, Profile)]
    return runs + ([compare_profiles(profiles)] if profiles else [])


def compare_result(result: Result) -> Comparison:
    """Lay out a run's dense, pruned and final network."""
    last = result.precision.upper()
    how = result.method if result.pattern == "channel" else f"{result.method} {result.pattern}"
    stages = {"dense": result.dense, "pruned": result.pruned, last: result.final}
    return Comparison(
        title=f"{result.model}, {how}, for {result.target} (seed {result.seed})",
        rows=[_stats_row(label, stats, result.dense) for label, stats in stages.items()],
        notes=result.notes,
        plot=[
            *(spectrum_lines(result.spectrum) if result.spectrum is not None else []),
            *allocation_lines(result.allocations),
        ],
    )


def compare_profiles(profiles: Sequence[Profile]) -> Comparison:
    """Lay out profiles; speeds are compared with the first one's, if machine and settings are the same."""
    first = profiles[0]
    return Comparison(
        title="profiles",
        rows=[_profile_row(profile, first, _label(profile, profiles)) for profile in profiles],
        notes=[note for profile in profiles for note in _profile_notes(profile)],
    )


def _files(path: Path) -> list[Path]:
    """A run's folder or a file as it is; of another folder the profiles in it, those of before among them."""
    if not path.is_dir() or (path / RESULT).is_file():
        return [path]
    dated = []
    for file in path.rglob("*.json"):
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(data, dict) and "latency_ms" in data:
            dated.append((str(data.get("date", "")), str(file), file))
    return [file for _, _, file in sorted(dated)] or [path]


def _read(path: Path) -> Result | Profile:
    if path.is_dir():
        if not (path / RESULT).is_file():
            raise EdgepruneError(
                f"{path}: no {RESULT} here, and no profiles. Give a RUN folder that is done, or profiles."
            )
        return read_json(Result, path / RESULT)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError:
        data = None
    if not isinstance(data, dict) or not {"latency_ms", "dense"} & set(data):
        raise EdgepruneError(f"{path}: neither a profile nor a {RESULT}. Give a RUN folder or a profile file.")
    if "latency_ms" in data:
        return parse(Profile, data, str(path))
    return parse(Result, data, str(path))


def _stats_row(label: str, stats: Stats, dense: Stats) -> Row:
    return Row(label=label, speed_up=_ratio(dense.latency_ms_p50, stats.latency_ms_p50), **stats.model_dump())


def _label(profile: Profile, among: Sequence[Profile]) -> str:
    """The name, and the moment of it where one network was profiled several times."""
    same = [other for other in among if other.name == profile.name]
    return profile.name if len(same) == 1 else f"{profile.name} {profile.date[:16].replace('T', ' ')}"


def _profile_row(profile: Profile, first: Profile, label: str) -> Row:
    p50 = profile.latency_ms.p50
    alike = _circumstances(profile) == _circumstances(first)
    return Row(
        label=label,
        accuracy=profile.accuracy,
        accuracy_se=profile.accuracy_se,
        macs=profile.macs,
        params=profile.params,
        onnx_bytes=profile.memory.model_bytes,
        latency_ms_p50=p50,
        speed_up=_ratio(first.latency_ms.p50, p50) if alike else None,
        int8_macs_share=profile.int8_macs_share,
    )


def _circumstances(profile: Profile) -> tuple[object, ...]:
    machine = profile.machine
    state = (machine.governor, machine.power_mode, machine.clocks_locked)
    return (machine.device, machine.processor, machine.threads, *state, profile.latency_ms.batch)


def _profile_notes(profile: Profile) -> list[str]:
    machine, latency = profile.machine, profile.latency_ms
    low, high = latency.p50_ci
    notes = [
        f"{profile.name}: on {machine.processor}, {figures.several(machine.threads, 'thread')}, batch {latency.batch}: "
        f"p50 {latency.p50:.3f} ms [{low:.3f}, {high:.3f}], p90 {latency.p90:.3f} ms, "
        f"{latency.throughput_per_s:.0f} images/s"
    ]
    power = profile.power
    if power.measured and power.mean_w is not None and power.energy_per_inference_mj is not None:
        net = "" if power.net_mj is None else f", {power.net_mj.value:.2f} mJ net of the idle machine"
        notes.append(
            f"{profile.name}: {power.mean_w:.2f} W ({' + '.join(power.rails_included)}), "
            f"{power.energy_per_inference_mj:.2f} mJ per image{net}"
        )
    if profile.measured_accuracy is not None:
        found = profile.measured_accuracy
        share = figures.accuracy(found.value, found.standard_error)
        notes.append(f"{profile.name}: {share} % of {found.count} images on the machine")
    if profile.predicted_ms is not None:
        notes.append(f"{profile.name}: predicted {predicted_text(profile)}, by {profile.predicted_from}")
    if machine.mismatch:
        notes.append(f"{profile.name}: not on {profile.target}: {machine.mismatch}")
    notes += [f"{profile.name}: {words}" for words in busy(machine.conditions)]
    if not latency.settled:
        notes.append(f"{profile.name}: the latency had not settled when the warm-up ended")
    return notes


def _ratio(before: float | None, after: float | None) -> float | None:
    return before / after if before is not None and after else None
