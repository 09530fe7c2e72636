"""How a network becomes INT8."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import Strict

RangeName = Literal["ema", "minmax", "percentile", "mse", "entropy"]
RANGE_NAMES: tuple[str, ...] = get_args(RangeName)


class Int8(Strict):
    """Settings of quantization, trained or not."""

    ranges: RangeName | None = None
    """How the ranges of activations are found (`quantization.ranges`). `None`: `ema` where INT8 is trained, and its
    training moves them on; else `mse`. The others hold still in training."""
    learned_scales: bool = False
    """Train the scales of activations and weights too (LSQ)."""
    equalize: bool = False
    """Even the ranges of channels between neighbouring layers first."""
    correct_biases: bool | None = None
    """Shift biases by the mean error of each channel; `None`: where INT8 is not trained."""
    rounding_steps: int = Field(default=0, ge=0)
    """Of AdaRound for each layer, where INT8 is not trained; 0: weights are rounded to the nearest."""
    fitting_images: int = Field(default=128, ge=8)
    """For bias correction and AdaRound: alive together at one operator."""
    outputs: bool = False
    """For TensorRT: quantize what layers write too, as its sparse INT8 kernels are said to need."""
    max_drop: float | None = Field(default=None, ge=0, lt=1)
    """Largest loss of validation accuracy against the pruned float network; the fewest layers that this takes stay in
    higher precision."""
    rank: Literal["noise", "hessian"] = "noise"
    """Which layers stay so first: those whose INT8 alone makes most noise at the outputs, or whose rounded weights the
    loss's curvature says cost most (HAWQ)."""
    size_mb: float | None = Field(default=None, gt=0)
    """Megabytes (1e6 bytes) of weights: as many layers stay in higher precision as fit, those first whose rounding
    costs the loss most for what they take."""
    latency_ms: float | None = Field(default=None, gt=0)
    """The same by milliseconds of the layers, measured or by the target's peaks."""
    keep: tuple[str, ...] = ()
    """Patterns (`head*`) of names of layers that stay in higher precision."""
    anyway: bool = False
    """Ship INT8 also where it was measured to be no faster than float here."""

    @model_validator(mode="after")
    def _one_way(self) -> Int8:
        if self.max_drop is not None and self.budgeted:
            raise EdgepruneError(
                "[int8] max_drop keeps as few layers in higher precision as it can, size_mb and latency_ms as many. "
                "Give one kind."
            )
        return self

    @property
    def budgeted(self) -> bool:
        """Whether the layers in higher precision are chosen under a budget."""
        return self.size_mb is not None or self.latency_ms is not None

    @property
    def settles(self) -> bool:
        """Whether any layer may stay in higher precision."""
        return self.max_drop is not None or self.budgeted or bool(self.keep)
