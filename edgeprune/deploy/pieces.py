"""Piece: a file to send, named by what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import MANIFEST, MANIFEST_SUM, Bundle, file_sum


@dataclass(frozen=True)
class Piece:
    """A file here, and its path in the folder that the device puts together."""

    path: Path
    name: str
    """Relative to that folder, with forward slashes."""
    sha256: str
    bytes: int


def piece(path: Path, name: str | None = None) -> Piece:
    """Hash a file.

    Raises:
        EdgepruneError: it cannot be read.
    """
    try:
        found = file_sum(path)
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    return Piece(path, name or path.name, found.sha256, found.bytes)


def bundle_pieces(bundle: Bundle) -> tuple[Piece, ...]:
    """The files that a bundle's manifest lists, the manifest, and what vouches for it; caches stay here."""
    vouchers = sorted(path.name for path in bundle.path.glob(f"{MANIFEST}.*") if path.is_file())
    names = [*bundle.manifest.files, MANIFEST, MANIFEST_SUM, *vouchers]
    return tuple(piece(bundle.path / name) for name in dict.fromkeys(names))


def data_pieces(path: Path) -> tuple[Piece, ...]:
    """A file of images, or all files below a folder; hidden ones stay here.

    Raises:
        EdgepruneError: nothing there.
    """
    if path.is_file():
        return (piece(path),)
    relative = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    found = tuple(
        piece(path / file, file.as_posix()) for file in relative if not any(part[0] == "." for part in file.parts)
    )
    if not found:
        raise EdgepruneError(f"{path}: no files there. Give --data a folder of class folders, as photos/test.")
    return found
