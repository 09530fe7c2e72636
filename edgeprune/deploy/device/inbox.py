"""Files that arrive, named by their sha256, and the folders that are put together from them."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from edgeprune.deploy.device.lock import Beat, locked
from edgeprune.deploy.device.wire import CHUNK, Refused, say

INBOX = "inbox"
ABANDONED_S = 7 * 86400.0


def receive(root: Path, files: list[tuple[str, int]]) -> dict[str, Any]:
    """Take files [(sha256, bytes)] from where they broke off; those whose hash is wrong are thrown away and named."""
    inbox = root / INBOX
    with locked(root) as beat:
        inbox.mkdir(exist_ok=True)
        wanted = [(sha, size, _kept(inbox, sha, size)) for sha, size in files if not is_file(inbox / sha, sha, beat)]
        say(wanted=[(sha, offset) for sha, _, offset in wanted])
        received, damaged = 0, []
        for sha, size, offset in wanted:
            if not _take(inbox, sha, size - offset, partial(_tell, beat, received)):
                damaged.append(sha)
            received += size - offset
        say(received=received)
    return {"damaged": damaged}


def _tell(beat: Beat, before: int, count: int) -> None:
    if beat():
        say(received=before + count)


def arrived(root: Path, files: list[str]) -> int:
    """How many bytes of files are here already, whole or in part."""
    paths = [root / INBOX / f"{sha}{end}" for sha in files for end in ("", ".part")]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _kept(inbox: Path, sha: str, size: int) -> int:
    """How many bytes of a file arrived before."""
    part = inbox / f"{sha}.part"
    have = part.stat().st_size if part.is_file() else 0
    if have > size:
        part.unlink()
        return 0
    return have


def _take(inbox: Path, sha: str, size: int, tell: Callable[[int], None]) -> bool:
    """Append `size` bytes to what is there of a file, and say whether the whole is what it should be."""
    part, left = inbox / f"{sha}.part", size
    arriving = cast(BufferedReader, sys.stdin.buffer)
    with part.open("a+b") as stream:
        stream.seek(0)
        digest = _digest(stream, lambda: tell(0))
        while left:
            chunk = arriving.read1(min(CHUNK, left))
            if not chunk:
                raise EOFError
            stream.write(chunk)
            stream.flush()  # so that a killed process loses nothing
            digest.update(chunk)
            left -= len(chunk)
            tell(size - left)
    if digest.hexdigest() != sha:
        part.unlink()
        return False
    part.rename(inbox / sha)
    return True


def is_file(path: Path, sha: str, beat: Callable[[], Any]) -> bool:
    """Whether a file is there with these bytes; sizes alone do not tell after a power cut."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _digest(stream, beat).hexdigest() == sha


def _digest(stream: BinaryIO, beat: Callable[[], Any]) -> hashlib._Hash:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        beat()
    return digest


def holds(root: Path, kind: str, name: str, files: list[tuple[str, str]]) -> bool:
    """Whether a deployed folder is there with every byte: files are [(relative path, sha256)]."""
    return all(is_file(root / kind / name / relative, sha, bool) for relative, sha in files)


def place(root: Path, kind: str, name: str, files: list[tuple[str, str]]) -> None:
    """Put a folder together from the inbox, whole or not at all.

    Raises:
        Refused: a path that leads out of the folder.
    """
    folder, aside = root / kind / name, root / kind / f".{name}"
    with locked(root) as beat:
        shutil.rmtree(aside, ignore_errors=True)
        for relative, sha in files:
            target = aside / relative
            if ".." in target.parts or not target.is_relative_to(aside):
                raise Refused(f"{relative!r} leads out of its folder. Rename that file.")
            target.parent.mkdir(parents=True, exist_ok=True)
            link(root / INBOX / sha, target)
            beat()
        os.sync()
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy on file systems that know no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def empty(root: Path, used: list[str]) -> None:
    """Remove from the inbox what a deployment has used, and what none came back for in a week."""
    with locked(root):
        for path in (root / INBOX).glob("*"):
            forgotten = time.time() - path.stat().st_mtime > ABANDONED_S
            if path.name in used or forgotten:
                path.unlink()
