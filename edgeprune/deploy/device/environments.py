"""A virtual environment from wheels that were sent along: no network, no pip and no ensurepip needed there."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeprune.deploy.device.inbox import INBOX, link
from edgeprune.deploy.device.lock import Beat, locked
from edgeprune.deploy.device.wire import BEAT_S, Refused

ENVIRONMENTS, WHOLE = "environments", "whole"
KEPT = 2
QUIET = ("--isolated", "--disable-pip-version-check", "--no-cache-dir", "--no-warn-script-location")
EXACTLY = ("--no-index", "--no-deps", "--ignore-installed", "--no-compile")


def platforms(root: Path, pip: str) -> list[str]:
    """Return the platforms of the wheels that this Python takes, best first, as the pip that was sent knows them."""
    tags = _vendored(root, pip, "tags").sys_tags()
    return list(dict.fromkeys(tag.platform for tag in tags if tag.platform != "any"))


def needed(root: Path, pip: str, requirements: list[str], extras: list[str]) -> list[str]:
    """Of lines of `Requires-Dist`, return those that hold for this Python, without their markers."""
    requirement, found = _vendored(root, pip, "requirements").Requirement, []
    for each in map(requirement, requirements):
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            chosen = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
            found.append(f"{each.name}{chosen}{each.specifier}")
    return found


def _vendored(root: Path, pip: str, module: str) -> Any:
    """A part of the library `packaging`, which pip's wheel carries."""
    wheel = str(root / INBOX / pip)
    if wheel not in sys.path:
        sys.path.insert(0, wheel)
    return importlib.import_module(f"pip._vendor.packaging.{module}")


def environment(root: Path, name: str, system: bool, wheels: list[tuple[str, str]], pip: str) -> str | None:
    """Return the Python of a virtual environment that holds exactly these wheels; build it where it is not whole.

    Args:
        root: our folder.
        name: of the environment, one for these wheels and this interpreter.
        system: whether the system's packages are seen, as TensorRT's of a Jetson, which pip cannot bring.
        wheels: [(file name, sha256)], in the inbox; none: only look whether it is whole.
        pip: the sha256 of pip's wheel, which runs as it is.
    """
    folder = root / ENVIRONMENTS / name
    python = folder / "bin" / "python"
    with locked(root) as beat:
        if (folder / WHOLE).is_file() and not run([str(python), "-m", "edgeprune", "--version"], beat)[0]:
            (folder / WHOLE).touch()
            return str(python)
        if not wheels:
            return None
        _remove(folder)
        try:
            _build(root, folder, system, wheels, pip, beat)
        except BaseException:
            _remove(folder)
            raise
        older = sorted(folder.parent.glob(f"*/{WHOLE}"), key=lambda path: path.stat().st_mtime)
        for path in older[:-KEPT]:
            _remove(path.parent)
    return str(python)


def _build(root: Path, folder: Path, system: bool, wheels: list[tuple[str, str]], pip: str, beat: Beat) -> None:
    parcel = folder / "wheels"
    python = str(folder / "bin" / "python")
    options = ["--system-site-packages"] if system else []
    _must([sys.executable, "-m", "venv", "--without-pip", *options, str(folder)], beat)
    parcel.mkdir()
    for file, sha in wheels:
        link(root / INBOX / sha, parcel / Path(file).name)
    files = sorted(str(file) for file in parcel.iterdir())
    _must([python, str(root / INBOX / pip / "pip"), "install", *QUIET, *EXACTLY, *files], beat)
    _must([python, "-m", "edgeprune", "--version"], beat)
    shutil.rmtree(parcel)
    os.sync()
    (folder / WHOLE).touch()


def _remove(folder: Path) -> None:
    """Remove an environment, first the sign that it is whole."""
    (folder / WHOLE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _must(command: list[str], beat: Beat) -> None:
    code, text = run(command, beat)
    if code:
        last = (text.strip().splitlines() or [f"exit code {code}"])[-1].removeprefix("ERROR: ")
        raise Refused(f"its virtual environment could not be made ({last}). Mend that, then run it again.")


def run(command: list[str], beat: Beat) -> tuple[int, str]:
    """Run a command, giving signs of life, and return its exit code and what it said."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=surroundings()
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    while True:
        try:
            text, _ = process.communicate(timeout=BEAT_S)
            return process.returncode, text.decode(errors="replace")
        except subprocess.TimeoutExpired:
            beat()


def surroundings() -> dict[str, str]:
    """What our commands find around them: nothing of the user's Python, and the tools of an administrator's PATH."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | {"PATH": f"{kept.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"}
