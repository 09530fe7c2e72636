"""Plans on disk: what they were built from, and which of them this device may load.

A plan is a cache of an ONNX file for one device and one TensorRT. It holds native code, so what is loaded must be what
was built here: its record keeps the sha256.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from edgeprune.engine.trt.driver import Gpu
from edgeprune.engine.trt.release import Release, parse_release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import FileSum, file_sum
from edgeprune.spec.strict import Strict, read_json

FOLDER = "engines"
"""Inside a bundle; its manifest does not list what a device builds."""


class PlanRecord(Strict):
    """What a plan is, in the file beside it."""

    schema_: int = Field(default=1, alias="schema")
    built: str
    """When."""
    seconds: float
    model_sha256: str
    device: str
    capability: str
    multiprocessors: int
    tensorrt: str
    settings: BuildSettings
    plan: FileSum
    eligible: list[str] | None = None
    """Layers whose weights are 2:4, by the build log; None where it did not say."""
    picked: list[str] | None = None
    """Those for which a sparse kernel was chosen."""


@dataclass(frozen=True)
class Plan:
    path: Path
    record: PlanRecord

    def read(self) -> bytes:
        """The plan's bytes, checked.

        Raises:
            EdgepruneError: it is not the file that was built.
        """
        if not self.path.is_file() or file_sum(self.path) != self.record.plan:
            raise EdgepruneError(f"{self.path}: does not match its sha256. Run edgeprune build --rebuild.")
        return self.path.read_bytes()

    def remove(self) -> None:
        """Delete it, its record first."""
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def plan_path(model: Path, gpu: Gpu, release: Release, settings: BuildSettings) -> Path:
    """Where the plan of a model goes: one for each device, release and way of building."""
    from edgeprune.spec.recipe import digest

    device = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    kind = digest([file_sum(model).sha256, settings.content(), gpu.multiprocessors])[:12]
    return model.parent / FOLDER / f"{device}-sm{gpu.sm}-trt{release}-{kind}.plan"


def write_plan(path: Path, content: bytes, record: PlanRecord) -> Plan:
    """Write a plan and its record; the record last, so that half a plan is none.

    Raises:
        EdgepruneError: they cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _whole(path, content)
        _whole(path.with_suffix(".json"), (record.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Free some space.") from None
    return Plan(path, record)


def read_plan(path: Path) -> Plan:
    """A plan by its path, with its record.

    Raises:
        EdgepruneError: there is no sound record.
    """
    return Plan(path, read_json(PlanRecord, path.with_suffix(".json")))


def plans_of(model: Path) -> list[Plan]:
    """Every plan of a model's bundle, the newest first."""
    records: Iterable[Path] = sorted((model.parent / FOLDER).glob("*.json"))
    found = [read_plan(record.with_suffix(".plan")) for record in records if record.with_suffix(".plan").is_file()]
    return sorted(found, key=lambda plan: plan.record.built, reverse=True)


def find_plan(model: Path, gpu: Gpu, release: Release, settings: BuildSettings | None = None) -> Plan:
    """The newest plan of a model that this device and TensorRT may load, of those built with some settings if given.

    Raises:
        EdgepruneError: there is none; the text says what the others were built for.
    """
    plans, sha = plans_of(model), file_sum(model).sha256
    for plan in plans:
        record = plan.record
        built_for = (record.device, record.capability, record.multiprocessors, record.model_sha256)
        if (
            built_for == (gpu.name, gpu.capability, gpu.multiprocessors, sha)
            and _runs_on(record, release)
            and settings in (None, record.settings)
        ):
            return plan
    others = {_words(plan.record.device, plan.record.multiprocessors, plan.record.tensorrt) for plan in plans}
    had = f" Those that are there are for {', '.join(sorted(others))}." if others else ""
    raise EdgepruneError(
        f"{model.parent}: no engine for {_words(gpu.name, gpu.multiprocessors, str(release))}.{had} "
        f"Run edgeprune build {model.parent} first."
    )


def _words(device: str, multiprocessors: int, release: str) -> str:
    return f"{device} ({multiprocessors} multiprocessors) with TensorRT {release}"


def _runs_on(record: PlanRecord, release: Release) -> bool:
    """The release that built a plan, or a later one of the same major version where it was built for that."""
    built = parse_release(record.tensorrt)
    later = record.settings.version_compatible and built.major == release.major and built <= release
    return built == release or later


def _whole(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.partial")
    with unfinished.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, path)
