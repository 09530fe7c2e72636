"""Order: what is to be deployed and done on every device; Delivery: what became of it on one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.deploy.device_facts import Device
from edgeprune.deploy.kit import Wants
from edgeprune.deploy.own_wheel import pack_wheel
from edgeprune.deploy.pieces import Piece, bundle_pieces, data_pieces, piece
from edgeprune.spec.bundle import Bundle, Manifest, open_bundle
from edgeprune.spec.profile import GoldenResult, Profile
from edgeprune.spec.strict import Strict

EXTRAS = {"onnxruntime": "cpu", "tensorrt": "tensorrt"}
"""Of pyproject.toml, by the runtime of a bundle."""
DECODER = "pillow>=10"
"""Decodes the images of --data."""


@dataclass(frozen=True)
class State:
    """How far a device is: at a step, of which `done` of `total` bytes are behind it where it counts bytes."""

    step: str
    done: int = 0
    total: int = 0
    ended: bool = False


Show = Callable[[State], None]


@dataclass(frozen=True)
class Asked:
    """What the user asked to be done on the device."""

    data: Path | None = None
    wheels: Path | None = None
    """A folder of wheels to be used instead of an index."""
    profile: bool = True
    build_options: tuple[str, ...] = ()
    profile_options: tuple[str, ...] = ()
    clean: bool = False
    """Whether nothing is to stay on the device."""


@dataclass(frozen=True)
class Folder:
    """A folder that the device puts together."""

    kind: str
    name: str
    pieces: tuple[Piece, ...]
    is_file: bool = False
    """Whether not the folder is meant, but the one file in it."""


@dataclass(frozen=True)
class Order:
    manifest: Manifest
    digest: str
    """The bundle's."""
    bundle: Folder
    data: Folder | None
    wants: Wants
    asked: Asked

    @property
    def folders(self) -> list[Folder]:
        return [self.bundle, *([self.data] if self.data else [])]


def make_order(bundle: Path, asked: Asked, aside: Path) -> Order:
    """Check and hash all that is to be sent; `aside`: a folder for edgeprune's wheel.

    Raises:
        EdgepruneError: a damaged bundle, or no images where --data says.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    wants = Wants(
        own=piece(pack_wheel(aside)),
        extras=(EXTRAS[manifest.runtime],),
        more=(DECODER,) if asked.data else (),
        system=manifest.runtime == "tensorrt",
        folder=asked.wheels,
    )
    data = None if asked.data is None else _data_folder(asked.data)
    return Order(manifest, opened.digest, _bundle_folder(opened), data, wants, asked)


def _bundle_folder(bundle: Bundle) -> Folder:
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in bundle.manifest.name)
    return Folder("bundles", f"{name.lstrip('.')}-{bundle.digest[:12]}", bundle_pieces(bundle))


def _data_folder(path: Path) -> Folder:
    pieces = data_pieces(path)
    listed = "".join(f"{piece.sha256}  {piece.name}\n" for piece in pieces)
    return Folder("data", hashlib.sha256(listed.encode()).hexdigest()[:16], pieces, path.is_file())


class Delivery(Strict):
    """What one device has and did."""

    host: str
    device: Device
    environment: str
    """The Python of its virtual environment."""
    bundle: str
    """The bundle's folder there."""
    doctor: dict[str, Any]
    """What `edgeprune doctor --json` says there."""
    answers: GoldenResult
    profile: Profile | None = None
    profile_file: str | None = None
    """Where the profile lies here."""
    waiting: bool = False
    """Whether the profile had been measured for a command that was interrupted, and waited there."""
    cleaned: bool = False
    """Whether all of it was removed again."""
