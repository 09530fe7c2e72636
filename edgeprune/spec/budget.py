"""What a run must reach: limits that hold together, or a loss of accuracy that a search keeps within."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from edgeprune.spec.strict import Strict

LimitName = Literal["macs", "params", "sparsity", "size_mb", "memory_mb", "latency_ms"]
LIMIT_NAMES: tuple[LimitName, ...] = get_args(LimitName)
SHARES: frozenset[LimitName] = frozenset({"macs", "params", "sparsity"})
"""Limits that are shares of the dense network; the others are absolute."""
CHANNELS_AT_MOST, MASKED_AT_MOST = 0.95, 0.98
"""Share of a layer that may go: of its channels, and of its weights by a mask pattern."""


class Budget(Strict):
    """Limits that must all hold; or `max_drop` alone, for the smallest network that is accurate enough."""

    macs: float | None = Field(default=None, gt=0, lt=1)
    """Share of the multiply-adds that may stay."""
    params: float | None = Field(default=None, gt=0, lt=1)
    """Share of the parameters that may stay."""
    sparsity: float | None = Field(default=None, gt=0, lt=1)
    """Share of the channels that must go; with a mask pattern, of the weights that it may take."""
    size_mb: float | None = Field(default=None, gt=0)
    """1e6 bytes of weights in the precision that ships."""
    memory_mb: float | None = Field(default=None, gt=0)
    """1e6 bytes of activations that live at the same time, at batch 1."""
    latency_ms: float | None = Field(default=None, gt=0)
    """Of one image, by a measured profile of the target or by a roofline of its facts."""
    max_drop: float | None = Field(default=None, gt=0, lt=1)
    """Largest loss of validation accuracy, 0.01 being one point."""

    @model_validator(mode="after")
    def _something(self) -> Budget:
        if not self.limits and self.max_drop is None:
            raise ValueError("no limit is given; say macs = 0.5")
        if self.limits and self.max_drop is not None:
            raise ValueError(
                f"max_drop searches the budget itself; {next(iter(self.limits))} cannot be given beside it"
            )
        return self

    @property
    def limits(self) -> dict[LimitName, float]:
        """The limits that are given, by name."""
        given = ((name, getattr(self, name)) for name in LIMIT_NAMES)
        return {name: value for name, value in given if value is not None}


class Search(Strict):
    """How `max_drop` searches: bisection on the share of multiply-adds, a short fine-tuning for each."""

    trials: int = Field(default=5, ge=1, le=20)
    epochs: int = Field(default=1, ge=0)
