"""Answers requests for as long as the connection lasts."""

from __future__ import annotations

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
from edgeprune.deploy.device.inbox import empty, holds, place, receive
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


VERBS: dict[str, Callable[..., Any]] = {
    "hello": hello,
    "platforms": platforms,
    "needed": needed,
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
    try:
        say(ready=READY)
        for line in iter(sys.stdin.buffer.readline, b""):
            request = json.loads(line)
            try:
                answer = VERBS[request.pop("verb")](Path(request.pop("root")).expanduser(), **request)
            except Refused as reason:
                return say(error=str(reason))
            except BrokenPipeError:
                raise
            except OSError as error:
                return say(error=f"{error.filename or 'a file'}: {error.strerror}.")
            say(done=answer)
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        os._exit(1)  # nobody listens
