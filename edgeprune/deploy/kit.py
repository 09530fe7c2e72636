"""Kit: what a device's virtual environment is made from; one choice serves all devices of a kind, also without network.

What pip chose is kept in the user's cache, by the device's Python and what was required of it: the same command gives
the same environment until that cache is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeprune.deploy.connection import Connection
from edgeprune.deploy.device_facts import Device
from edgeprune.deploy.own_wheel import requirements
from edgeprune.deploy.pieces import Piece
from edgeprune.deploy.wheels import Chooser, Wheel, choose, choose_pip, fetch
from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import Strict, read_json

ONE_AT_A_TIME = threading.Lock()
"""Devices of a kind wait for the first of them to have chosen."""


class Choice(Strict):
    pip: Wheel
    wheels: tuple[Wheel, ...]
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class Wants:
    """What is wanted of an environment."""

    own: Piece
    """edgeprune's wheel."""
    extras: tuple[str, ...]
    more: tuple[str, ...]
    """Requirements on top."""
    system: bool
    """Whether the system's packages are seen: TensorRT comes with the device, not with pip."""
    folder: Path | None
    """Of wheels, to be used instead of an index."""


@dataclass(frozen=True)
class Kit:
    pip: Piece
    wheels: tuple[Piece, ...]
    system: bool

    def name(self, device: Device) -> str:
        """Of the environment: another one for every other set of wheels, and every other interpreter."""
        return _hash([device.interpreter, device.python, self.system, [wheel.sha256 for wheel in self.wheels]])

    @property
    def unpacked_bytes(self) -> int:
        return sum(entry.file_size for wheel in self.wheels for entry in zipfile.ZipFile(wheel.path).infolist())


def make_kit(connection: Connection, device: Device, wants: Wants, tell: Callable[[str], None]) -> Kit:
    """Choose wheels for a device and fetch them.

    Raises:
        EdgepruneError: pip finds none that fit, or has no network for those that are not in the cache.
    """
    base = requirements()
    with ONE_AT_A_TIME:
        cache = cache_folder()
        key = _hash([device.kind, base, wants.extras, wants.more])
        file = cache / f"{key}.json"
        choice = _known(file) if wants.folder is None else None
        chooser = Chooser(device.python, device.implementation, choice.platforms if choice else (), wants.folder)
        if choice is None:
            tell("choosing wheels")
            choice = _choose(connection, wants, base, chooser)
            if wants.folder is None:
                _keep(choice, file)
        tell("fetching wheels")
        chooser = Chooser(device.python, device.implementation, choice.platforms, wants.folder)
        wheels = fetch(choice.wheels, cache / "wheels", chooser)
        (pip,) = fetch([choice.pip], cache / "wheels", chooser)
    return Kit(pip, (wants.own, *wheels), wants.system)


def _choose(connection: Connection, wants: Wants, base: list[str], chooser: Chooser) -> Choice:
    """Choose with the device's help: its Python says which platforms it takes and which requirements hold."""
    wheel = choose_pip(chooser)
    (pip,) = fetch([wheel], cache_folder() / "wheels", chooser)
    if connection.send([pip]):
        raise EdgepruneError(f"{connection.host}: what was sent arrived damaged. Run the same command again.")
    platforms = tuple(connection.ask("platforms", pip=pip.sha256))
    chooser = Chooser(chooser.python, chooser.implementation, platforms, chooser.folder)
    wanted = connection.ask("needed", pip=pip.sha256, requirements=base, extras=wants.extras)
    return Choice(pip=wheel, wheels=choose(connection, pip, [*wanted, *wants.more], chooser), platforms=platforms)


def cache_folder() -> Path:
    """Where choices and wheels are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "edgeprune"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _known(file: Path) -> Choice | None:
    try:
        return read_json(Choice, file)
    except EdgepruneError:  # none yet, or of another version: chosen again
        return None


def _keep(choice: Choice, file: Path) -> None:
    handle, unfinished = tempfile.mkstemp(dir=file.parent, prefix=".choice-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(choice.model_dump_json(indent=2) + "\n")
    Path(unfinished).replace(file)


def _hash(of: object) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
