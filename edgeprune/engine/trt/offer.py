"""What `engine.runner` needs to know of TensorRT; light, since most machines have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.engine.trt.driver import Gpu, first_gpu
from edgeprune.engine.trt.load import installed
from edgeprune.spec.bundle import MANIFEST

if TYPE_CHECKING:
    from edgeprune.engine.trt.plans import Plan
    from edgeprune.engine.trt.runner import PlanRunner


def available() -> bool:
    """Whether this machine can run engines at all: TensorRT is installed, and there is a CUDA device."""
    return installed() and isinstance(first_gpu(), Gpu)


def open_built(model: Path) -> PlanRunner:
    """Load the newest engine of an ONNX file for this device: `edgeprune build` made it of a bundle's.

    A file that is in no bundle, as a single layer that is timed, is built here and now.

    Raises:
        EdgepruneError: there is none for a bundle's file, and the text says what to run; or TensorRT refuses.
    """
    from edgeprune.engine.trt.runner import open_plan

    return open_plan(model, None if (model.parent / MANIFEST).is_file() else _alone(model))


def _alone(model: Path) -> Plan:
    from edgeprune.engine.trt.make import Making, make_plan
    from edgeprune.engine.trt.onnx_file import read_model
    from edgeprune.engine.trt.settings import BuildSettings

    quantized = any(node.op_type == "QuantizeLinear" for node in read_model(model).graph.node)
    return make_plan(Making(model, BuildSettings(int8=quantized)))
