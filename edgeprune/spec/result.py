"""Result: the figures of a run, as `RUN/result.json` holds them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.spec.strict import Strict


class Stats(Strict):
    """One network's figures; accuracies are shares of the test images, None where it was not measured."""

    accuracy: float
    accuracy_se: float
    """Binomial standard error."""
    macs: int
    params: int
    onnx_bytes: int
    latency_ms_p50: float | None
    int8_macs_share: float | None


class Result(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    model: str
    target: str
    method: str
    pattern: str = "channel"
    """In which form weights were pruned (`spec.pattern`)."""
    dense_layers: dict[str, str] = Field(default_factory=dict)
    """With a mask pattern: the weights that it did not touch, and why."""
    seed: int
    precision: Literal["int8", "fp32"] = "int8"
    """Of the final network."""
    dense: Stats
    pruned: Stats
    final: Stats
    seconds: dict[str, float]
    notes: list[str]
    """What a reader must know beside the figures: what was measured where, what was not, and why."""
