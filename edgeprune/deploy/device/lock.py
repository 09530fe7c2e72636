"""Our folder on the device, and the lock that whoever changes something in it holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from edgeprune.deploy.device.wire import BEAT_S, Refused, say

MARK = ".edgeprune"
"""Stands in every folder that is ours, the only kind that is ever removed."""
LOCK = "lock"
STALE_S = 30.0
"""A holder of the lock that gave no sign for so long waits for a connection that is gone."""


class Beat:
    """A sign of life on the lock, called often and given once a second; says whether it was given."""

    def __init__(self, lock: TextIO) -> None:
        self.lock, self.last = lock, 0.0

    def __call__(self) -> bool:
        if time.monotonic() - self.last < BEAT_S:
            return False
        self.last = time.monotonic()
        os.utime(self.lock.fileno())
        return True


def claim(root: Path) -> None:
    """Make the folder ours, and nobody else's: what lies in it is run.

    Raises:
        Refused: it holds something else, or belongs to another user.
    """
    if root.exists() and root.stat().st_uid != os.geteuid():
        raise Refused(f"{root} belongs to another user. Name another folder with --folder.")
    if root.exists() and not is_ours(root) and (not root.is_dir() or any(root.iterdir())):
        raise Refused(f"{root} holds something else. Name another folder with --folder.")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    (root / MARK).touch()


def is_ours(root: Path) -> bool:
    return (root / MARK).is_file()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[Beat]:
    """Hold the folder's lock; one that a dead connection left behind is taken over."""
    while True:
        claim(root)
        with (root / LOCK).open("a+") as lock:
            _wait(root, lock)
            if not _is_current(root, lock):  # removed by whoever held it
                continue
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield Beat(lock)
            return


def try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(root: Path, lock: TextIO) -> None:
    """Wait for the lock; the holder's signs are compared with each other, since a Jetson's clock jumps at boot."""
    sign, since = 0, time.monotonic()
    while not try_lock(lock):
        say(waiting=True)
        time.sleep(BEAT_S)
        latest = os.fstat(lock.fileno()).st_mtime_ns
        if latest != sign:
            sign, since = latest, time.monotonic()
        elif time.monotonic() - since > STALE_S and _is_current(root, lock):
            lock.seek(0)
            holder = lock.read().strip()
            if holder.isdigit():  # alive: the lock is held until its process ends
                os.kill(int(holder), signal.SIGKILL)
            since = time.monotonic()


def _is_current(root: Path, lock: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (root / LOCK).stat())
    except FileNotFoundError:
        return False
