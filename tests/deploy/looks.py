"""What the tests of the room do to a device and look for on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.deploy.sshd import Device
from tests.tiny import Done

LARGE = 16 << 20
"""What of the large bundle no compression makes smaller."""
BRIEF = ("--profile-options", "--seconds 0.2")


def deliveries(done: Done) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    hosts: list[dict[str, Any]] = json.loads(done.out)["hosts"]
    return hosts


def run_there(device: Device, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*device.ssh.split(), device.name, command], capture_output=True, text=True, check=False)


def until(met: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def is_tidy(device: Device) -> None:
    """Nothing half-done is left: no files on their way, no jobs, no environment that is not whole."""
    assert not list((device.folder / "inbox").iterdir())
    assert not list((device.folder / "jobs").iterdir())
    for folder in (device.folder / "environments").iterdir():
        assert (folder / "whole").is_file()
        assert not (folder / "wheels").exists()
    assert not [path for path in (device.folder / "bundles").iterdir() if path.name.startswith(".")]


def started(*arguments: str, cwd: Path, **streams: Any) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, which hears Ctrl-C also where the tests run in the background."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "edgeprune", *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, preexec_fn=heard, **streams)
