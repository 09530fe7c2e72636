"""Fake quantizers: values rounded to the grid of their INT8 codes, with a straight-through gradient.

Rounding is torch.fake_quantize_*'s to the bit (x times the reciprocal of the scale, ties to even). It is
written out here because those run one element at a time on a CPU: 15 ms against 1.3 ms for 128x16x32x32
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

MINIMUM_SCALE = 2.0**-24
"""TensorRT refuses a scale of zero, which a dead channel would have."""
MOMENTUM = 0.99
"""Of a range's moving average, as in EHAP's quantization-aware training."""

Codes = Literal["signed", "unsigned", "affine"]
"""int8 around a zero point of 0, all of TensorRT; uint8 from 0; uint8 around the code that zero happens to have."""
LIMITS: dict[Codes, tuple[int, int]] = {"signed": (-128, 127), "unsigned": (0, 255), "affine": (0, 255)}


class _Round(torch.autograd.Function):
    """Round to `scale` times an integer in [low, high]; the gradient passes where nothing is clipped.

    The scale's gradient is that of LSQ (Esser et al. 2020, arXiv 1902.08153, eq. 3): code minus unrounded code
    where nothing is clipped, else the bound.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        codes = x * scale.reciprocal()
        ctx.save_for_backward(codes)
        ctx.low, ctx.high, ctx.shape = low, high, scale.shape
        return codes.round().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (codes,) = ctx.saved_tensors
        # One fused pass for `grad where low - 1/2 < code < high + 1/2, else 0`.
        passed = torch.ops.aten.hardtanh_backward(grads[0], codes, ctx.low - 0.5, ctx.high + 0.5)
        of_scale = None
        if ctx.needs_input_grad[1]:
            rounded = codes.round().clamp_(ctx.low, ctx.high)
            of_scale = (grads[0] * rounded - passed * codes).sum_to_size(ctx.shape)
        return passed, of_scale, None, None


def _round(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    return cast(Tensor, _Round.apply(x, scale, low, high))  # type: ignore[no-untyped-call]


class Quantizer(nn.Module):
    """What both kinds share. `enabled`: round, or pass on. `unit`: the scale of the last call, which biases count in.

    A learned scale (LSQ) is trained by its logarithm, in which Adam's steps are relative (Jain et al. 2020, arXiv
    1903.08066, section 3). A held one is fixed, where it no longer follows from the range or the weights.
    """

    unit: Tensor
    log_scale: Tensor | None

    def __init__(self, unit: Tensor) -> None:
        super().__init__()
        self.enabled = True
        self.register_buffer("unit", unit)
        self.register_buffer("log_scale", None)

    def hold_scale(self, scale: Tensor, learned: bool) -> None:
        """Set the scale apart from range and weights; `learned`: as a parameter."""
        del self.log_scale
        log_scale = scale.detach().clamp_min(MINIMUM_SCALE).log()
        if learned:
            self.register_parameter("log_scale", nn.Parameter(log_scale))
        else:
            self.register_buffer("log_scale", log_scale)
        self.unit.copy_(scale.detach())

    def _held(self) -> Tensor | None:
        return None if self.log_scale is None else self.log_scale.exp().clamp_min(MINIMUM_SCALE)


class ActivationQuantizer(Quantizer):
    """Per-tensor quantizer; where it `follows`, its range is a moving average of each batch's in training."""

    lower: Tensor
    upper: Tensor
    started: Tensor

    def __init__(self, codes: Codes, follows: bool = True) -> None:
        super().__init__(torch.tensor(MINIMUM_SCALE))
        self.observing, self.follows = False, follows
        self.codes = codes
        self.low, self.high = LIMITS[codes]
        self.register_buffer("lower", torch.zeros(()))
        self.register_buffer("upper", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            self._observe(x.detach())
        if not self.enabled:
            return x
        scale = self.scale()
        self.unit.copy_(scale.detach())
        zero = self.zero_point()
        return _round(x, scale, self.low - zero, self.high - zero)

    def scale(self) -> Tensor:
        held = self._held()
        if held is not None:
            return held
        if self.codes == "affine":
            span = (self.upper.clamp_min(0) - self.lower.clamp_max(0)) / 255
        elif self.codes == "unsigned":
            span = self.upper / 255
        else:  # so that -128 hardly occurs
            span = torch.maximum(-self.lower, self.upper) / 127
        return span.clamp_min(MINIMUM_SCALE)

    def zero_point(self) -> int:
        """The code of zero: zero itself is exact under all of them."""
        if self.codes != "affine":
            return 0
        return int((-self.lower.clamp_max(0) / self.scale().detach()).round().clamp(0, 255))

    def set_range(self, lower: Tensor, upper: Tensor) -> None:
        self.lower.copy_(lower)
        self.upper.copy_(upper)
        self.started.fill_(True)
        self.unit.copy_(self.scale().detach())

    def _observe(self, x: Tensor) -> None:
        for own, now in zip((self.lower, self.upper), torch.aminmax(x), strict=True):
            own.copy_(torch.where(self.started, own * MOMENTUM + now * (1 - MOMENTUM), now))
        self.started.fill_(True)


class WeightQuantizer(Quantizer):
    """Symmetric quantizer per output channel; the scales follow the weights at every step unless they are held.

    The exporter takes codes -128..127 only; dividing the largest magnitude by 127, or by 63 for 7 bits, keeps
    them within -127..127 or -63..63.
    """

    def __init__(self, bits: int, channels: int, axis: int = 0) -> None:
        super().__init__(torch.full((channels,), MINIMUM_SCALE))
        self.levels = levels(bits)
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale(weight)
        self.unit.copy_(scale.detach())
        if not self.enabled:
            return weight
        return _round(weight, scale.view(self.shape(weight)), -self.levels, self.levels)

    def shape(self, weight: Tensor) -> list[int]:
        """Of the scales, beside the weight."""
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        return shape

    def scale(self, weight: Tensor) -> Tensor:
        """One per output channel."""
        held = self._held()
        return held if held is not None else weight_scale(weight, self.levels, self.axis)


class BiasQuantizer(nn.Module):
    """A bias rounded to int32 in units of input scale x weight scale, as integer kernels store it (EHAP).

    With it, what an integer kernel computes differs from this simulation in the last float rounding only.
    """

    limit = 2.0**30

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True

    def forward(self, bias: Tensor, activation_unit: Tensor, weight_unit: Tensor) -> Tensor:
        """A bias that has no int32 code stays as it is."""
        if not self.enabled:
            return bias
        with torch.no_grad():
            scale = activation_unit * weight_unit
            codes = (bias / scale).round()
            change = torch.where(codes.abs() < self.limit, codes * scale, bias) - bias
        return bias + change


def levels(weight_bits: int) -> int:
    """The largest code of a symmetric weight."""
    return int(2 ** (weight_bits - 1)) - 1


def weight_scale(weight: Tensor, levels: int, axis: int = 0) -> Tensor:
    """One scale per output channel."""
    rows = weight.detach().transpose(0, axis).flatten(1)
    return (rows.abs().amax(1) / levels).clamp_min(MINIMUM_SCALE)


def refresh_units(module: nn.Module, weights: Mapping[WeightQuantizer, Tensor]) -> None:
    """Bring the units up to date after a step of the optimizer, as the next call would."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, ActivationQuantizer):
                part.unit.copy_(part.scale())
            elif isinstance(part, WeightQuantizer):
                part.unit.copy_(part.scale(weights[part]))


def observe(module: nn.Module, on: bool) -> None:
    """Let every activation quantizer follow its range (training), or hold it (evaluation)."""
    for part in module.modules():
        if isinstance(part, ActivationQuantizer):
            part.observing = on and part.follows and part.log_scale is None


def enable(module: nn.Module, on: bool) -> None:
    """Let every quantizer round, or pass on what it is given."""
    for part in module.modules():
        if isinstance(part, Quantizer | BiasQuantizer):
            part.enabled = on
