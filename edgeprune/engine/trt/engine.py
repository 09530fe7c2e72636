"""A plan as an engine in memory, ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.engine.trt.build import prepare_onnx
from edgeprune.engine.trt.log import BuildLog
from edgeprune.engine.trt.plans import Plan
from edgeprune.engine.trt.release import Release
from edgeprune.errors import EdgepruneError


def load_engine(trt: Any, logger: Any, log: BuildLog, plan: Plan, model: Path, release: Release) -> Any:
    """Deserialise a plan whose sha256 was checked; put its weights in if it was built without.

    Raises:
        EdgepruneError: TensorRT does not take it, or the ONNX file does not have its weights.
    """
    record = plan.record
    if record.tensorrt != str(release) and not record.settings.version_compatible:
        raise EdgepruneError(
            f"{plan.path}: built with TensorRT {record.tensorrt}, and {release} is here. Run edgeprune build again."
        )
    content = plan.read()
    trt.init_libnvinfer_plugins(logger, "")
    runtime = trt.Runtime(logger)
    if record.settings.version_compatible:
        runtime.engine_host_code_allowed = True  # such a plan brings its own runtime
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        why = log.fault or "its log tells no reason"
        raise EdgepruneError(
            f"{plan.path}: TensorRT {release} does not take it ({why}). Run edgeprune build --rebuild."
        )
    if record.settings.strip_weights:
        _refit(trt, logger, engine, prepare_onnx(model, release, record.settings), plan.path)
    return engine


def _refit(trt: Any, logger: Any, engine: Any, model: bytes, path: Path) -> None:
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_bytes(model):
        said = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise EdgepruneError(
            f"{path}: its weights cannot be put in ({said or 'no reason is given'}). Run edgeprune build --rebuild."
        )
    missing = refitter.get_missing_weights()
    if missing:
        raise EdgepruneError(
            f"{path}: the ONNX file lacks weights, {missing[0]} for one. Run edgeprune build --rebuild."
        )
    if not refitter.refit_cuda_engine():
        raise EdgepruneError(f"{path}: TensorRT refuses the weights of the ONNX file. Run edgeprune build --rebuild.")
