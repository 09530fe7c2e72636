"""A table of the layers that vision networks have in common, for budgets of networks that were never profiled."""

from __future__ import annotations

from edgeprune.engine.runner import RuntimeName, offered
from edgeprune.errors import EdgepruneError
from edgeprune.measure.layer_bench import BLOCKS, Bench, measure_layers
from edgeprune.measure.match import device_targets
from edgeprune.measure.probe import probe
from edgeprune.progress import Tick, silent
from edgeprune.spec.layer_costs import Family, LayerCosts, LayerShape
from edgeprune.spec.target import Target, load_target


def common_shapes() -> tuple[LayerShape, ...]:
    """The layers of ResNets and MobileNets on photographs of 224 and pictures of 32 pixels, at their widest."""
    found = [_conv(224, 7, 2, 3, 64), _conv(224, 3, 2, 3, 32), _conv(32, 3, 1, 64, 64)]
    for side, width in ((56, 64), (28, 128), (14, 256), (7, 512), (16, 64), (8, 128)):
        found.append(_conv(side, 3, 1, width, width))
    for side, width in ((56, 64), (28, 128), (14, 256), (32, 64), (16, 64)):
        found.append(_conv(side, 3, 2, width, 2 * width))
    for side, width in ((56, 256), (28, 512), (14, 1024), (7, 2048)):
        found.append(_conv(side, 1, 1, width, width))
    for side, width in ((56, 256), (28, 512), (14, 1024)):
        found.append(_conv(side, 1, 2, width, 2 * width))
    for side, stride in ((112, 1), (112, 2), (56, 1), (56, 2), (28, 1), (28, 2), (14, 1), (14, 2), (7, 1)):
        found.append(_conv(side, 3, stride, 1, 960, "depthwise"))
    found.append(_shape("linear", Family(op="linear", height=1, width=1), 2048, 1000))
    return tuple(found)


def measure_common(precision: str, threads: int | None, tick: Tick = silent) -> LayerCosts:
    """Time the common layers on this machine.

    Raises:
        EdgepruneError: this machine is none of the shipped targets, or its runtime is not here.
    """
    host = probe()
    targets = device_targets(host)
    if not targets:
        raise EdgepruneError("this machine is none of the shipped targets. Profile a bundle with --layers instead.")
    target = load_target(targets[0])
    bench = Bench(
        target=target.name,
        precision=precision,
        dialect="float" if precision == "fp32" else target.runtime,
        runtime=_runtime(target),
        threads=threads,
        exact=False,
        multiple=BLOCKS * target.channel_multiple.value,
    )
    return measure_layers(common_shapes(), bench, host, tick)


def _runtime(target: Target) -> RuntimeName:
    if target.runtime == "onnxruntime":
        return "cpu"
    if "tensorrt" in offered():
        return "tensorrt"
    raise EdgepruneError(f"this is a {target.name}, and TensorRT is not here. Install it first; see edgeprune doctor.")


def _conv(side: int, kernel: int, stride: int, inputs: int, outputs: int, op: str = "conv") -> LayerShape:
    family = Family(
        op=op,  # type: ignore[arg-type] # one of the three
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(kernel // 2, kernel // 2),
        height=side,
        width=side,
    )
    return _shape(str(family), family, inputs, outputs)


def _shape(name: str, family: Family, inputs: int, outputs: int) -> LayerShape:
    return LayerShape(
        name=name, family=family, inputs=inputs, outputs=outputs, whole_inputs=inputs, whole_outputs=outputs
    )
