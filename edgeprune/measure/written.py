"""Profiles as files: the newest of a model under its name, those of before beside it, calls one by one."""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.measure.latency import Calls
from edgeprune.spec.layer_costs import LayerCosts
from edgeprune.spec.profile import Profile
from edgeprune.spec.speeds import TABLES

HISTORY = "history"


def write_profile(profile: Profile, folder: Path, calls: Calls | None = None) -> Path:
    """Write `TARGET/NAME-MODELHASH12.json` into a folder, by atomic rename, and return its path.

    One that stands there goes to `TARGET/history/` under its date. `calls` go beside it as `.times.npz`: `start_s` and
    `ms` of each call, in the order in which they began.
    """
    parts = (profile.target, profile.name)
    target, name = ("".join(c if c.isalnum() or c in "-_." else "-" for c in part) for part in parts)
    path = folder / target / f"{name}-{profile.model_sha256[:12]}.json"
    text = profile.model_dump_json(by_alias=True, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep(path)
        _replace(path, text.encode())
        if calls is not None:
            content = io.BytesIO()
            np.savez_compressed(
                content, start_s=calls.starts - calls.begin, ms=(1000 * calls.durations).astype(np.float32)
            )
            _replace(path.with_suffix(".times.npz"), content.getvalue())
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Name a folder with -o.") from None
    return path


def write_layer_costs(costs: LayerCosts, folder: Path) -> Path:
    """Write `TARGET/layers/PRECISION-THREADS.json` into a folder, by atomic rename, and return its path."""
    path = folder / costs.target / TABLES / f"{costs.precision}-{costs.threads}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, (costs.model_dump_json(by_alias=True) + "\n").encode())
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Name a folder with -o.") from None
    return path


def _keep(path: Path) -> None:
    """Copy the profile that stands under a name to where the older ones are; no name is given twice."""
    if not path.is_file():
        return
    content = path.read_bytes()
    try:
        date = str(json.loads(content)["date"])
    except (ValueError, KeyError, TypeError):
        date = "undated"
    stamp = "".join(c for c in date.split("+")[0] if c.isalnum())
    kept = path.parent / HISTORY / f"{path.stem}-{stamp}.json"
    kept.parent.mkdir(exist_ok=True)
    count = 1
    while kept.exists():
        count += 1
        kept = kept.with_name(f"{path.stem}-{stamp}-{count}.json")
    _replace(kept, content)


def _replace(path: Path, content: bytes) -> None:
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".profile-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(unfinished).chmod(0o644)  # mkstemp's 0600 is for secrets
        Path(unfinished).replace(path)
    except OSError:
        Path(unfinished).unlink(missing_ok=True)
        raise
