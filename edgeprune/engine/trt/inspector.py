"""What TensorRT's engine inspector says of an engine, from 8.5 to 11.

Both documents are alike: `Layers`, each with `Name`, `LayerType`, `Inputs` and `Outputs`, and with `TacticName`,
`Weights`, `ParameterType`, `Origin` and `Metadata` where they apply. Until 10 a tensor has one `Format/Datatype` in
words (`Thirty-two wide channel vectorized row major Int8 format`); from 11 on `Format` and `DataType` apart (NVIDIA,
"Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"). An engine that was not built with detailed verbosity
lists names alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.spec.engine import Precision

ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
TYPES: tuple[tuple[str, Precision], ...] = (
    (r"(?<!u)int8", "int8"),
    (r"bf16|bfloat16", "bf16"),
    (r"fp8|e4m3|e5m2", "fp8"),
    (r"fp16|half|float16", "fp16"),
    (r"fp32|float|tf32", "fp32"),
    (r"int4|fp4|int32|int64|bool|uint8", "other"),
)
"""Words for a type, in the order in which they are looked for."""
KERNEL_TYPES: tuple[tuple[str, Precision], ...] = (
    (r"i8i8|i8f32|i8f16|int8|imma|i8816|i16832", "int8"),
    (r"e4m3|fp8", "fp8"),
    (r"bf16", "bf16"),
    (r"f16f16|f16f32|fp16|h884|h1688|h16816|hmma|half", "fp16"),
    (r"f32f32|fp32|tf32|sgemm|scudnn|s1688|ffma", "fp32"),
)
"""How kernels are called by what they multiply."""
REFORMATS = ("reformat", "copynode", "cast")
JOINED = " + "


@dataclass(frozen=True)
class InspectedLayer:
    """One layer, as the inspector tells it."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    """The ONNX nodes that went into it, where that is told."""
    tactic: str
    weights: str
    """The weights' type in words, where it has any."""
    inputs: tuple[str, ...]
    """Types in words."""
    reformat: bool

    @property
    def precision(self) -> Precision:
        """What it computes in: by its weights, else by its kernel's name, else by what comes in."""
        by_weights = _first(TYPES, self.weights)
        by_kernel = _first(KERNEL_TYPES, self.tactic)
        by_input = next((found for text in self.inputs if (found := _first(TYPES, text))), None)
        if self.reformat:
            return by_input or "unknown"
        return by_weights or by_kernel or by_input or "unknown"


def read_inspection(text: str) -> list[InspectedLayer]:
    """Read `get_engine_information(JSON)`.

    Raises:
        EdgepruneError: it is not such a document.
    """
    try:
        # Until 8.6 names with line breaks or tabs in them are written as they are.
        layers = json.loads(text, strict=False)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EdgepruneError(f"TensorRT's engine inspector answers no list of layers ({error}). Report it.") from None
    return [InspectedLayer(layer, "", (), "", "", (), False) if isinstance(layer, str) else _read(layer)
            for layer in layers]  # fmt: skip


def _read(layer: dict[str, Any]) -> InspectedLayer:
    name, kind = str(layer.get("Name", "")), str(layer.get("LayerType", ""))
    weights = layer.get("Weights")
    changes = kind.lower() in REFORMATS or layer.get("ParameterType") == "Reformat" or name.startswith("Reformatting ")
    return InspectedLayer(
        name=name,
        kind=kind,
        nodes=tuple(ONNX_LAYER.findall(str(layer.get("Metadata", "")))) or (() if changes else _from_name(name)),
        tactic=str(layer.get("TacticName", "")),
        weights=str(weights.get("Type", "")) if isinstance(weights, dict) else "",
        inputs=tuple(_type_words(tensor) for tensor in layer.get("Inputs", ()) if isinstance(tensor, dict)),
        reformat=changes,
    )


def _type_words(tensor: dict[str, Any]) -> str:
    return str(tensor.get("DataType") or tensor.get("Datatype") or tensor.get("Format/Datatype") or "")


def _from_name(name: str) -> tuple[str, ...]:
    """`conv1.weight + QuantizeLinear_7 + Conv_9 + PWN(Clip_13)`: fusions are called by their parts."""
    return tuple(
        inner for part in name.split(JOINED) for inner in re.sub(r"\b(?:PWN|fusedPointwise)\(|\)", "", part).split(", ")
    )


def _first(words: tuple[tuple[str, Precision], ...], text: str) -> Precision | None:
    if not text or text.startswith("N/A"):
        return None
    return next((meaning for pattern, meaning in words if re.search(pattern, text.lower())), None)
