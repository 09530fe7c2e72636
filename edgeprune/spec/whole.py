"""What is written whole or not at all: a folder or file that takes its place by one rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeprune.errors import EdgepruneError


@contextlib.contextmanager
def whole_or_nothing(path: Path, *, folder: bool = True) -> Iterator[Path]:
    """A folder (or the name for a file) beside the wanted one, which takes its place at the end.

    What stood there is replaced; if anything fails it stays, and what was begun is removed.

    Raises:
        EdgepruneError: the disk is full, or the place cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        inside = temporary / path.name
        if folder:
            inside.mkdir()
        yield inside
        for written in (*inside.rglob("*"), inside):
            _flush(written)
        if folder and path.exists():
            path.rename(temporary / "replaced")
        inside.replace(path)
    except OSError as error:
        raise EdgepruneError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another place."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    """Let the bytes reach the disk before the rename does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
