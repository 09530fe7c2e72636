"""pip, run here for another machine: which wheels a device needs, and the wheels.

pip chooses by the platforms that the device's own Python names. Environment markers it judges by this machine, so a
dependency may be missing that only the device needs; the device is asked, and pip runs again, until none is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from edgeprune.deploy.connection import Connection
from edgeprune.deploy.pieces import Piece, piece
from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import Strict

COMMAND = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


class Wheel(Strict):
    """A wheel of an index, by its address and hash."""

    url: str
    sha256: str

    @property
    def file(self) -> str:
        return unquote(Path(urlparse(self.url).path).name)


@dataclass(frozen=True)
class Chooser:
    """For which Python pip chooses, and where it looks: its configured indexes, or a folder of wheels."""

    python: str
    implementation: str
    platforms: tuple[str, ...]
    folder: Path | None

    @property
    def options(self) -> list[str]:
        short = {"cpython": "cp", "pypy": "pp"}.get(self.implementation, "py")
        where = ["--no-index", "--find-links", str(self.folder)] if self.folder else []
        platforms = [f"--platform={name}" for name in self.platforms]
        return [
            "--only-binary=:all:", f"--python-version={self.python}", f"--implementation={short}", *platforms, *where
        ]  # fmt: skip


def choose_pip(chooser: Chooser) -> Wheel:
    """The newest pip that the device's Python runs."""
    (found,) = _report(["pip"], chooser, "--no-deps")
    return _wheel(found)


def choose(connection: Connection, pip: Piece, requirements: Sequence[str], chooser: Chooser) -> tuple[Wheel, ...]:
    """Return the wheels that requirements without markers come to on a device.

    Raises:
        EdgepruneError: pip finds none that fit.
    """
    wanted = list(requirements)
    while True:
        report = _report(wanted, chooser)
        there = {_name(item["metadata"]["name"]) for item in report}
        texts = sorted({line for item in report for line in item["metadata"].get("requires_dist", [])})
        lines: list[str] = connection.ask("needed", pip=pip.sha256, requirements=texts, extras=[])
        missing = [line for line in lines if _name(line) not in there]
        if not missing:
            return tuple(_wheel(item) for item in report)
        wanted += missing


def fetch(wheels: Sequence[Wheel], folder: Path, chooser: Chooser) -> tuple[Piece, ...]:
    """Return the wheels as files; those that the folder lacks, or has with other bytes, are downloaded and checked.

    Raises:
        EdgepruneError: pip fails, or a file has another hash than its index said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in wheels if _held(wheel, folder) is None]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            urls = [f"{wheel.url}#sha256={wheel.sha256}" for wheel in missing]
            _pip(["download", "--no-deps", *chooser.options, "--dest", aside, *urls], chooser)
            for wheel in missing:
                os.replace(Path(aside) / wheel.file, folder / wheel.file)
    found = [(wheel, _held(wheel, folder)) for wheel in wheels]
    for wheel, file in found:
        if file is None:
            raise EdgepruneError(f"{wheel.url} has other bytes than its index says. Run the same command again.")
    return tuple(file for _, file in found if file is not None)


def _held(wheel: Wheel, folder: Path) -> Piece | None:
    path = folder / wheel.file
    found = piece(path) if path.is_file() else None
    return found if found is not None and found.sha256 == wheel.sha256 else None


def _report(requirements: Sequence[str], chooser: Chooser, *more: str) -> list[dict[str, Any]]:
    """What pip would install, as its installation report says it."""
    with tempfile.TemporaryDirectory() as aside:
        report, nowhere = Path(aside) / "report.json", Path(aside) / "target"
        looking = ["install", "--dry-run", "--ignore-installed", f"--target={nowhere}", f"--report={report}"]
        _pip([*looking, *chooser.options, *more, *requirements], chooser)
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return found


def _pip(arguments: Sequence[str], chooser: Chooser) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()[
            -1:
        ]
        if any("No module named pip" in line for line in lines):
            raise EdgepruneError("pip is not installed here, and it fetches the device's wheels. python -m ensurepip")
        reason = lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else f"exit code {done.returncode}"
        machine = f"Python {chooser.python}" + (f" on {chooser.platforms[0]}" if chooser.platforms else "")
        raise EdgepruneError(
            f"pip finds no wheels for {machine} ({reason}). Check the network, or give a folder of them with --wheels."
        )


def _wheel(item: dict[str, Any]) -> Wheel:
    download = item["download_info"]
    return Wheel(url=download["url"], sha256=download["archive_info"]["hashes"]["sha256"])


def _name(requirement: str) -> str:
    """A distribution's name in one spelling."""
    letters = requirement.lower().replace("_", "-").replace(".", "-")
    end = next((i for i, c in enumerate(letters) if not (c.isalnum() or c == "-")), len(letters))
    return letters[:end]
