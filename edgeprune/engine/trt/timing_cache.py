"""What TensorRT measured of its kernels, kept so that the next build need not measure again.

A cache is TensorRT's own file, as trtexec's `--timingCacheFile` writes it. Its times are those of one release, device
and power mode, which TensorRT checks only in part: a file beside it says what it was made with, and another one's is
not used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgeprune.engine.trt.driver import Gpu
from edgeprune.engine.trt.release import Release
from edgeprune.errors import EdgepruneError
from edgeprune.progress import Tell

POWER_MODE = Path("/var/lib/nvpmodel/status")
"""Where a Jetson keeps the id of the power mode in force, as `pmode:0002`."""


def cache_key(release: Release, gpu: Gpu, power_mode: Path = POWER_MODE) -> dict[str, str]:
    """What a cache is good for."""
    try:
        mode = power_mode.read_text(encoding="utf-8").strip().removeprefix("pmode:")
    except (OSError, UnicodeDecodeError):
        mode = "none"
    return {
        "tensorrt": str(release), "device": gpu.name, "capability": gpu.capability,
        "multiprocessors": str(gpu.multiprocessors), "power_mode": mode,
    }  # fmt: skip


def load_cache(path: Path | None, key: dict[str, str], tell: Tell) -> bytes:
    """A cache's bytes; none where there is no file, or it is another release's, device's or power mode's."""
    if path is None or not path.is_file():
        return b""
    try:
        made_with = json.loads(_about(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made_with = None
    if made_with != key:
        what = made_with if isinstance(made_with, dict) else {}
        apart = [f"{name} {what.get(name, 'unknown')}, not {key[name]}" for name in key if what.get(name) != key[name]]
        tell(f"{path} is of {'; '.join(apart)}: it is measured anew")
        return b""
    return path.read_bytes()


def save_cache(path: Path, content: bytes, key: dict[str, str]) -> None:
    """Write a cache and what it is good for, each by atomic rename.

    Raises:
        EdgepruneError: they cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, data in ((path, content), (_about(path), (json.dumps(key, indent=2) + "\n").encode())):
            unfinished = file.with_name(f".{file.name}.partial")
            unfinished.write_bytes(data)
            os.replace(unfinished, file)
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Name another --timing-cache.") from None


def attach(config: Any, content: bytes) -> None:
    """Give a builder's configuration a cache, empty where TensorRT does not take this one."""
    if not config.set_timing_cache(config.create_timing_cache(content), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def taken(config: Any) -> bytes:
    """A configuration's cache after a build."""
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(memoryview(cache.serialize()))


def _about(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
