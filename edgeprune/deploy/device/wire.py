"""Requests and replies as lines of JSON; the bytes of files follow the request that announces them."""

from __future__ import annotations

import json
import sys
from typing import Any

READY = "edgeprune-device-1"
CHUNK = 1 << 18
BEAT_S = 1.0


class Refused(Exception):
    """What the user must hear: what is wrong, then what to do."""


def say(**fields: Any) -> None:
    """Send one line to the host.

    Raises:
        BrokenPipeError: the connection is gone.
    """
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
