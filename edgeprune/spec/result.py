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


class Reached(Strict):
    """One limit of the budget, in its own unit."""

    asked: float
    reached: float
    source: str
    """What it was counted by: milliseconds come from a measured profile or from a roofline."""


class Trial(Strict):
    """One budget that `--max-drop` tried."""

    macs: float
    macs_reached: float
    val_accuracy: float
    """After the short fine-tuning."""
    drop: float
    """From the dense network's; negative where it is better."""
    within: bool


class Search(Strict):
    """What `--max-drop` tried, in order; the smallest within it was carried through."""

    max_drop: float
    dense_val_accuracy: float
    trials: tuple[Trial, ...]


class Spectrum(Strict):
    """The density of the eigenvalues of the loss's curvature, by stochastic Lanczos quadrature."""

    matrix: Literal["hessian", "ggn"]
    weights: int
    """The matrix's side."""
    images: int
    products: int
    smallest: float
    largest: float
    """Of the eigenvalues that the iterations saw."""
    values: tuple[float, ...]
    density: tuple[float, ...]
    """At the values, smeared by a hundredth of the spread; integrates to 1."""


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
    budget: dict[str, Reached] = Field(default_factory=dict)
    """By the names of the recipe's limits; of the pruned network."""
    search: Search | None = None
    spectrum: Spectrum | None = None
    """Where the recipe asked for it."""
    seconds: dict[str, float]
    notes: list[str]
    """What a reader must know beside the figures: what was measured where, what was not, and why."""
