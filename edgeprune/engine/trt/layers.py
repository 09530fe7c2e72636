"""The layers of an engine beside the graph that they came from, with their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.engine.trt.inspector import InspectedLayer
from edgeprune.engine.trt.onnx_file import read_model
from edgeprune.spec.engine import EngineLayer

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def graph_nodes(model: Path) -> dict[str, str]:
    """Operator by node name."""
    return {node.name: node.op_type for node in read_model(model).graph.node}


def engine_layers(
    inspected: Sequence[InspectedLayer],
    nodes: Mapping[str, str],
    times: Mapping[str, float] | None,
    eligible: Sequence[str] | None,
    picked: Sequence[str] | None,
) -> tuple[list[EngineLayer], float]:
    """Join what the inspector, the profiler and the build log say; also the profiled time that is nobody's.

    `nodes`: operator by name of the ONNX graph; the layer is called by its node with weights, else by its first.
    """
    left = dict(times or {})
    rows = []
    for layer in inspected:
        known = [name for name in layer.nodes if name in nodes]
        weighted = [name for name in known if nodes[name] in WEIGHTED]
        rows.append(
            EngineLayer(
                name=layer.name,
                layer=next(iter(weighted or known), layer.name),
                nodes=known,
                kind=layer.kind,
                precision=layer.precision,
                tactic=layer.tactic,
                reformat=layer.reformat,
                eligible=_among(layer.name, eligible),
                sparse=_among(layer.name, picked),
                ms=None if times is None else left.pop(layer.name, 0.0),
            )
        )
    return rows, sum(left.values())


def int8_share(layers: Sequence[EngineLayer], other_ms: float) -> float | None:
    """Share of the profiled time that layers take which compute in INT8; None where nothing was profiled."""
    total = sum(layer.ms or 0.0 for layer in layers) + other_ms
    if not total:
        return None
    return sum(layer.ms or 0.0 for layer in layers if layer.precision == "int8" and not layer.reformat) / total


def _among(name: str, names: Sequence[str] | None) -> bool | None:
    """The log may call a layer by a part of its fused name."""
    if names is None:
        return None
    return any(name == other or other in name.split(" + ") for other in names)
