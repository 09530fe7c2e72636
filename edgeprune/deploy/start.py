"""How the device's end of ours is started: one line for whatever shell the user has there, the rest over the wire."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

MODULES = ("wire", "lock", "inbox", "environments", "jobs", "serve")
"""The device's end, each module after those that it imports."""
LOADER = (
    "import json, sys, types\n"
    "for name, text in json.loads(sys.stdin.buffer.readline()):\n"
    "    module = sys.modules[name] = types.ModuleType(name)\n"
    "    exec(compile(text, name, 'exec'), module.__dict__)\n"
    "module.serve()"
)
"""What the device's Python is started with; the modules come over the connection, so no argument grows long."""
START = f"exec({LOADER!r})"  # on one line, since some login shells take no other
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10")
NO_PYTHON = 69


def sources() -> bytes:
    """Return the line that the loader reads: names and texts of the modules."""
    here = Path(__file__).parent / "device"
    modules = [(f"edgeprune.deploy.device.{name}", (here / f"{name}.py").read_text("utf-8")) for name in MODULES]
    return json.dumps(modules).encode() + b"\n"


def remote_command(python: str | None) -> str:
    """Return the command for the login shell there; it starts the device's end with the first Python new enough."""
    # A ~ in quotes is not the home folder's name any more.
    words = (
        ['"$HOME"/' + shlex.quote(python[2:]) if python.startswith("~/") else shlex.quote(python)]
        if python
        else PYTHONS
    )
    looked = python or ", ".join(PYTHONS)
    script = (
        f"for python in {' '.join(words)}; do "
        'if "$python" -c "import sys; sys.exit(sys.version_info < (3, 10))" 2>/dev/null; then '
        f'exec "$python" -u -c {shlex.quote(START)}; fi; done; '
        f"echo {shlex.quote(f'no Python 3.10 or later there (looked for {looked})')} >&2; exit {NO_PYTHON}"
    )
    return f"exec sh -c {shlex.quote(script)}"
