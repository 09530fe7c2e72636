"""Answers requests for as long as the connection lasts."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.deploy.device.environments import environment, needed, platforms
from edgeprune.deploy.device.inbox import arrived, empty, holds, place, receive
from edgeprune.deploy.device.jobs import forget, job, stop_all
from edgeprune.deploy.device.lock import LOCK, MARK, is_ours, locked
from edgeprune.deploy.device.wire import READY, Refused, say


def hello(root: Path) -> dict[str, Any]:
    """Say what decides which wheels fit, and how much room there is; nothing is written.

    Raises:
        Refused: a folder that is relative.
    """
    if not root.is_absolute():
        raise Refused(f"{root} is no absolute path. Give --folder one that begins with / or ~.")
    root = root.resolve()  # a link to a larger disk stays when its target is removed
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    board = Path("/proc/device-tree/model")
    return {
        "root": str(root),
        "board": board.read_text(errors="replace").strip("\0\n ") if board.is_file() else platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "interpreter": sys.executable,
        "abi": str(sysconfig.get_config_var("SOABI")),
        "libc": " ".join(platform.libc_ver()),
        "free_bytes": shutil.disk_usage(there).free,
    }


def clean(root: Path) -> bool:
    """Stop what runs and remove our folder; returns whether there was one.

    Raises:
        Refused: a folder that is not ours.
    """
    if not root.exists():
        return False
    if not is_ours(root):
        raise Refused(f"{root} is not a folder that deploy made, and stays.")
    with locked(root):
        stop_all(root)
        for path in root.iterdir():
            if path.name not in (MARK, LOCK):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(root)
    return True


FULL = (errno.ENOSPC, errno.EDQUOT)
FREE_SOME = " Free some space there, then run the same command again: it goes on where it stopped."
VERBS: dict[str, Callable[..., Any]] = {
    "hello": hello,
    "platforms": platforms,
    "needed": needed,
    "arrived": arrived,
    "receive": receive,
    "holds": holds,
    "place": place,
    "environment": environment,
    "job": job,
    "forget": forget,
    "empty": empty,
    "clean": clean,
}


def serve() -> None:
    """Answer until the connection ends, or until a request fails, after which the stream may hold half a file."""
    os.umask(0o077)
    try:
        say(ready=READY)
        for line in iter(sys.stdin.buffer.readline, b""):
            request = json.loads(line)
            try:
                answer = VERBS[request.pop("verb")](_expanded(request.pop("root")), **request)
            except Refused as reason:
                return say(error=str(reason))
            except (BrokenPipeError, EOFError):
                raise
            except OSError as error:
                return say(error=_told(error))
            except Exception as fault:  # told, or it would look like a connection that broke
                return say(error=f"{type(fault).__name__} in {line[:80]!r} ({fault}). Please report this.")
            say(done=answer)
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        os._exit(1)  # nobody listens


def _expanded(root: str) -> Path:
    try:
        return Path(root).expanduser()
    except RuntimeError:
        raise Refused(f"{root}: no such user there. Give --folder an absolute path.") from None


def _told(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}.{FREE_SOME if error.errno in FULL else ''}"
