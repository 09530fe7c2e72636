"""What the process that works with TensorRT is asked to do."""

from __future__ import annotations

from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.spec.strict import Strict


class BuildRequest(Strict):
    """Paths are strings: this travels as JSON."""

    bundle: str
    settings: BuildSettings
    timing_cache: str
    log: str
    seconds: float
    streams: int
    rebuild: bool
    notes: list[str]
