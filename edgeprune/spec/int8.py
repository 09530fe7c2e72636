"""How a network becomes INT8."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

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
    keep: tuple[str, ...] = ()
    """Patterns (`head*`) of names of layers that stay in higher precision."""
    anyway: bool = False
    """Ship INT8 also where it was measured to be no faster than float here."""
