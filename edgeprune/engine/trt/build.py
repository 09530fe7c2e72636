"""From ONNX to a plan, with the TensorRT that is here.

Until 10.11 the builder is told what it may use (INT8 with quantizers in the graph, FP16 for the rest); from 10.12 on
the network states its types and the builder obeys, so what may run in half is written in half first (`half`). Enums are
named, never numbered: their numbers differ between releases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.engine.trt.float_weights import store_floats
from edgeprune.engine.trt.half import in_half
from edgeprune.engine.trt.log import BuildLog
from edgeprune.engine.trt.monitor import monitor_for
from edgeprune.engine.trt.onnx_file import fix_batch, opset_of, read_model
from edgeprune.engine.trt.opset import to_opset
from edgeprune.engine.trt.release import Release
from edgeprune.engine.trt.settings import BuildSettings
from edgeprune.engine.trt.timing_cache import attach, taken
from edgeprune.errors import EdgepruneError
from edgeprune.progress import Tick, silent

NO_DEVICE = "factory function returned nullptr"
"""What the bindings say where the library found no CUDA device."""
IR_OF_8 = 8
"""Of the onnx that TensorRT 8's parser was built with; later formats add types, and none of them is used here."""
OUTSIDE = ("CUBLAS", "CUBLAS_LT", "CUDNN")
"""Members of `TacticSource` that are libraries of their own; 11 uses none."""
SINCE = {"VERSION_COMPATIBLE": "8.6", "STRIP_PLAN": "10.0"}


def make_builder(trt: Any, logger: Any) -> Any:
    """Open a builder.

    Raises:
        EdgepruneError: TensorRT finds no CUDA device, or one that it does not support.
    """
    try:
        return trt.Builder(logger)
    except TypeError as error:
        if NO_DEVICE not in str(error):
            raise
        raise EdgepruneError(
            f"TensorRT {trt.__version__} finds no CUDA device that it supports. Build on the device that runs the "
            "engine, with its NVIDIA driver loaded."
        ) from None


def prepare_onnx(path: Path, release: Release, settings: BuildSettings) -> bytes:
    """The model in the opset that TensorRT parses, its weights as it wants them, in the types that it computes in.

    Raises:
        EdgepruneError: the file is damaged, or an operator has no form in that opset.
    """
    model = read_model(path)
    if opset_of(model) > release.newest_opset:
        to_opset(model, release.newest_opset)
    if release.major < 10:
        model.ir_version = min(model.ir_version, IR_OF_8)
        store_floats(model)
    if settings.batch.fixed:  # a static network: several contexts may run it in TensorRT 8 too
        fix_batch(model, settings.batch.best)
    if settings.fp16 and release.strongly_typed:
        in_half(model)
    content: bytes = model.SerializeToString()
    return content


def flag_names(release: Release, settings: BuildSettings) -> list[str]:
    """The builder's flags, by their names in `BuilderFlag`."""
    names = []
    if not release.strongly_typed:
        names += ["INT8"] if settings.int8 else []
        names += ["FP16"] if settings.fp16 else []
    names += ["SPARSE_WEIGHTS"] if settings.sparse else []
    names += ["STRIP_PLAN"] if settings.strip_weights else []
    names += ["VERSION_COMPATIBLE"] if settings.version_compatible else []
    return names


def network_flags(trt: Any, release: Release) -> int:
    """Explicit batch where that is a choice; strong typing where there is one."""
    flags, value = trt.NetworkDefinitionCreationFlag, 0
    wanted = (["EXPLICIT_BATCH"] if release.major < 10 else []) + (["STRONGLY_TYPED"] if release.strongly_typed else [])
    for name in wanted:
        if hasattr(flags, name):  # both are how 11 works; it has the name of the second still
            value |= 1 << int(getattr(flags, name))
    return value


def build_plan(
    trt: Any,
    logger: Any,
    log: BuildLog,
    model: bytes,
    settings: BuildSettings,
    release: Release,
    cache: bytes = b"",
    tick: Tick = silent,
) -> tuple[bytes, bytes]:
    """Build an engine; returns its plan and the timing cache.

    Raises:
        EdgepruneError: TensorRT refuses the model or finds no engine; the text is the first error of its log.
    """
    builder = make_builder(trt, logger)
    trt.init_libnvinfer_plugins(logger, "")  # the parser makes some operators of them, as TensorRT 8 instance norms
    network = builder.create_network(network_flags(trt, release))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise EdgepruneError(f"TensorRT {release} does not take the model: {_parse_errors(parser)}. Report it.")
    config = builder.create_builder_config()
    _configure(trt, config, settings, release)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if any(length < 0 for tensor in inputs for length in tensor.shape):
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            shapes = [_with_batch(tensor, n) for n in (settings.batch.least, settings.batch.best, settings.batch.most)]
            profile.set_shape(tensor.name, *shapes)
        config.add_optimization_profile(profile)
    attach(config, cache)
    monitor = monitor_for(trt, tick)
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        why = log.fault or "its log tells no reason"
        raise EdgepruneError(f"TensorRT {release} built no engine: {why}. Give it more memory, or report it.")
    return bytes(memoryview(plan)), taken(config)


def _configure(trt: Any, config: Any, settings: BuildSettings, release: Release) -> None:
    for name in flag_names(release, settings):
        if not hasattr(trt.BuilderFlag, name):
            raise EdgepruneError(
                f"TensorRT {release} has no {name}; releases from {SINCE.get(name, 'another')} on have it. "
                "Leave that option out."
            )
        config.set_flag(getattr(trt.BuilderFlag, name))
    if settings.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector knows names alone
    if not settings.outside_kernels:
        outside = sum(1 << int(getattr(trt.TacticSource, name)) for name in OUTSIDE if hasattr(trt.TacticSource, name))
        config.set_tactic_sources(config.get_tactic_sources() & ~outside)


def _with_batch(tensor: Any, images: int) -> tuple[int, ...]:
    """An input's shape with that many images; only its first axis is dynamic."""
    shape = tuple(tensor.shape)
    if any(length < 0 for length in shape[1:]):
        raise EdgepruneError(f"input {tensor.name} has shape {shape}; only its first axis may vary. Export it again.")
    return (images if shape[0] < 0 else shape[0], *shape[1:])


def _parse_errors(parser: Any) -> str:
    """What the parser says, without its C++ source lines."""
    said = [" ".join(str(parser.get_error(index).desc()).split()) for index in range(parser.num_errors)]
    return "; ".join(said) or "it says nothing more"
