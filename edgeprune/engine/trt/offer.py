"""What `engine.runner` needs to know of TensorRT; light, since most machines have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.load import installed

if TYPE_CHECKING:
    from edgeprune.engine.trt.runner import PlanRunner


def available() -> bool:
    """Whether this machine can run engines at all: TensorRT is installed, and there is a CUDA device."""
    return installed() and isinstance(first_gpu(), Gpu)


def open_built(model: Path) -> PlanRunner:
    """Load the newest engine that `edgeprune build` made of an ONNX file for this device.

    Raises:
        EdgepruneError: there is none; the text says what to run.
    """
    from edgeprune.engine.trt.runner import open_plan

    return open_plan(model)
