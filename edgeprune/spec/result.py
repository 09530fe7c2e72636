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


class Course(Strict):
    """Where a search stood: after so many trials, the reward of an allocation, and the units that it keeps."""

    trials: int
    reward: float
    kept: tuple[int, ...]


class Allocation(Strict):
    """How AMP-HASA divided the budget among parts: layers under a mask pattern, or groups of channels."""

    allocator: str
    ended: Literal["done", "time", "interrupted"]
    asked: int
    """Trials; those that were done are as many as there are `rewards`."""
    strength: float
    """Of the curvature in the scores."""
    strengths: dict[str, float]
    """What each strength that was tried was worth on the validation images, at LAMP's allocation."""
    parts: tuple[str, ...]
    units: tuple[int, ...]
    """Of each part: weights, blocks or channels."""
    lamp: tuple[int, ...]
    """Units kept by LAMP's allocation, where the search started unless an earlier cycle had moved it."""
    kept: tuple[int, ...]
    moves: tuple[float, ...]
    """From LAMP's allocation to the one that is kept, in logits of the share kept."""
    rewards: tuple[float, ...]
    """Of the trials, in order."""
    course: tuple[Course, ...]
    fresh: float | None = None
    """Reward on the validation images: of the allocation that is kept,"""
    fresh_start: float | None = None
    """and of the one that the search started from."""
    seconds: float
    judging: float
    """Seconds of those that the trials took."""


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
    allocations: tuple[Allocation, ...] = ()
    """Of AMP-HASA, one for each cycle."""
    seconds: dict[str, float]
    notes: list[str]
    """What a reader must know beside the figures: what was measured where, what was not, and why."""
