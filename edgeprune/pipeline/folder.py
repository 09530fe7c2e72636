"""The run directory: one result per stage, written atomically, found again by what it was made from.

RUN/recipe.toml                    replays the run
RUN/stages/NAME-KEY/               a stage's files; KEY is the hash of its settings and of its inputs' keys
RUN/stages/.NAME-KEY.work/         a stage that was interrupted, with its last checkpoint
RUN/bundle/  RUN/result.json       what came out
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.spec.recipe import Recipe, digest
from edgeprune.spec.strict import read_toml

RECIPE, RESULT, BUNDLE = "recipe.toml", "result.json", "bundle"
STAGES, LOCK = "stages", ".lock"
SMALLEST_FILE = 64 * 1024
TORCH = version("torch")


@dataclass(frozen=True)
class Stage:
    """A finished stage. `seconds` is what it took from its last start to its end; `ran` whether that was now."""

    name: str
    key: str
    path: Path
    seconds: float
    ran: bool


@dataclass(frozen=True)
class RunFolder:
    """A run directory, locked by this process."""

    path: Path
    recipe: Recipe

    def stage(
        self, name: str, settings: Any, inputs: list[Stage], make: Callable[[Path], None], fingerprint: str = ""
    ) -> Stage:
        """Return a stage's result, making it where it is not there yet.

        `make` writes into the folder it is given, which becomes the result by one rename. If it was interrupted,
        it is given the same folder again and may go on from a checkpoint there.
        """
        key = digest([name, settings, [stage.key for stage in inputs], fingerprint, __version__, TORCH])[:16]
        done = self.path / STAGES / f"{name}-{key}"
        if (done / "stage.json").is_file():
            return Stage(name, key, done, _seconds(done), ran=False)
        work = done.with_name(f".{done.name}.work")
        work.mkdir(parents=True, exist_ok=True)
        clock = _Clock(work)
        try:
            make(work)
        except EdgepruneError:
            # The same again would fail the same way: there is nothing to go on with.
            shutil.rmtree(work)
            raise
        except Exception as error:
            if not _full(error, work):
                raise
            raise EdgepruneError(
                f"the disk is full, writing {work}. Free some space, then run the same command again: "
                "it goes on where it stopped."
            ) from error
        clock.write()
        (work / "state.pt").unlink(missing_ok=True)
        os.replace(work, done)
        return Stage(name, key, done, _seconds(done), ran=True)

    def publish(self, name: str, text: str) -> None:
        """Put a text file into the run directory by one rename."""
        partial = self.path / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path / name)


def _full(error: Exception, folder: Path) -> bool:
    """Whether a stage failed for want of space: torch and safetensors tell it in errors of their own."""
    number = getattr(error, "errno", None)
    nothing_left = shutil.disk_usage(folder).free < SMALLEST_FILE
    return number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or nothing_left


class _Clock:
    """Seconds spent on a stage since it was last started."""

    def __init__(self, work: Path) -> None:
        self._work, self._start = work, time.monotonic()

    def write(self) -> None:
        seconds = time.monotonic() - self._start
        (self._work / "stage.json").write_text(json.dumps({"seconds": round(seconds, 3)}), encoding="utf-8")


def _seconds(folder: Path) -> float:
    return float(json.loads((folder / "stage.json").read_text(encoding="utf-8"))["seconds"])


@contextmanager
def open_run(path: Path, recipe: Recipe) -> Iterator[RunFolder]:
    """Open or begin a run directory, and hold it against other processes.

    Raises:
        EdgepruneError: it holds a run of another recipe, is in use, or is something else's folder.
    """
    existing, begun, mine = path / RECIPE, not (path / RECIPE).is_file(), not path.exists()
    if not begun:
        differing = _difference(read_toml(Recipe, existing), recipe)
        if differing:
            raise EdgepruneError(
                f"{path}: holds a run of another recipe ({differing}). Choose another folder with -o, or delete it."
            )
    elif path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - {STAGES, LOCK}):
        raise EdgepruneError(f"{path}: is not a run directory and not empty. Choose another folder with -o.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = (path / LOCK).open("w")
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Choose another folder with -o.") from None
    with held as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EdgepruneError(
                f"{path}: another edgeprune is at work here. Wait for it, or choose another -o."
            ) from None
        if begun:
            partial = path / f".{RECIPE}.partial"
            partial.write_text(recipe_toml(recipe), encoding="utf-8")
            os.replace(partial, existing)
        try:
            yield RunFolder(path, recipe)
        except EdgepruneError:
            goes_on = any((path / STAGES).glob(".*.work"))  # when the disk has room again
            if begun and not goes_on:
                _withdraw(path, mine)
            raise


def _withdraw(path: Path, mine: bool) -> None:
    """Take back the recipe that this call wrote, so that a corrected one may take its place.

    The stages that are done stay: they are found by their keys. Without any the directory goes too, if it is `mine`.
    """
    (path / RECIPE).unlink(missing_ok=True)
    if any((path / STAGES).glob("*")):
        return
    shutil.rmtree(path / STAGES, ignore_errors=True)
    (path / LOCK).unlink(missing_ok=True)
    if mine:
        with suppress(OSError):  # something else lies there: it stays
            path.rmdir()


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML text (absent keys are defaults that TOML cannot say: none)."""
    import tomli_w

    return tomli_w.dumps(recipe.model_dump(mode="json", by_alias=True, exclude_none=True))


def recipe_of(path: Path) -> Recipe:
    """Read the recipe of a run directory.

    Raises:
        EdgepruneError: there is no run.
    """
    if not (path / RECIPE).is_file():
        raise EdgepruneError(f"{path}: no run here ({RECIPE} is missing). Start one with edgeprune prune or compress.")
    return read_toml(Recipe, path / RECIPE)


def _difference(there: Recipe, asked: Recipe) -> str:
    """The first settings that differ, as `target = 'a', asked 'b'`; empty if none."""
    a, b = (_flat(recipe.model_dump(mode="json", by_alias=True)) for recipe in (there, asked))
    differing = [f"{key} = {a.get(key)!r}, asked {b.get(key)!r}" for key in b if a.get(key) != b.get(key)]
    return "; ".join(differing[:3])


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
