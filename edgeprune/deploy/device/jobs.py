"""Commands that run on without a connection: a measurement does not start over because the network blinked.

A job's lock is held by its processes, so it is free once they are gone, however they went. No daemon: a job ends by
itself, and nothing listens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from edgeprune.deploy.device.environments import surroundings
from edgeprune.deploy.device.lock import LOCK, locked, try_lock
from edgeprune.deploy.device.wire import say

JOBS, CODE, PID = "jobs", "code", "pid"
SCRIPT = '"$@" >out 2>err </dev/null; echo $? >code.part; mv code.part code'
LOOK_S = 0.25
"""Rare enough not to be seen in a measurement."""


def job(root: Path, name: str, command: list[str]) -> dict[str, Any]:
    """Wait for a job of this name, which is started where it neither runs nor has ended, and return what it left.

    Returns:
        `code`, `out` and `err`; `before`: whether it had ended before we asked.
    """
    folder = root / JOBS / name
    before = (folder / CODE).is_file()
    with locked(root):
        if not before and not is_running(folder):
            _start(folder, command)
    since = last = time.monotonic()
    while not (folder / CODE).is_file() and is_running(folder):
        time.sleep(LOOK_S)
        if time.monotonic() - last > 1:
            last = time.monotonic()
            say(seconds=round(last - since))
    return {"before": before} | _left(folder)


def _left(folder: Path) -> dict[str, Any]:
    """What a job left; one that was killed has no exit code, and is as if it had never run."""
    code = (folder / CODE).read_text() if (folder / CODE).is_file() else ""
    out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
    return {"code": int(code) if code.strip() else None, "out": out, "err": err}


def _start(folder: Path, command: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / LOCK).open("w") as lock:
        try_lock(lock)
        process = subprocess.Popen(
            ["sh", "-c", SCRIPT, "edgeprune-job", *command],
            cwd=folder,
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        (folder / PID).write_text(str(process.pid))


def is_running(folder: Path) -> bool:
    """Whether some process of a job is alive."""
    if not (folder / LOCK).is_file():
        return False
    with (folder / LOCK).open("a") as lock:
        return not try_lock(lock)


def forget(root: Path, name: str) -> None:
    """Remove a job that ended, its result having arrived."""
    shutil.rmtree(root / JOBS / name, ignore_errors=True)


def stop_all(root: Path) -> None:
    """End every job that runs, with the processes that it started."""
    for folder in (root / JOBS).glob("*"):
        if is_running(folder) and (folder / PID).is_file():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int((folder / PID).read_text()), signal.SIGKILL)
