"""Fake quantizers: values rounded to the grid of their INT8 codes, with a straight-through gradient.

Rounding is torch.fake_quantize_*'s to the bit (x times the reciprocal of the scale, ties to even). It is
written out here because those run one element at a time on a CPU: 15 ms against 1.3 ms for 128x16x32x32
values.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

MINIMUM_SCALE = 2.0**-24
"""TensorRT refuses a scale of zero, which a dead channel would have."""
MOMENTUM = 0.99
"""Of a range's moving average, as in EHAP's quantization-aware training."""


class _Round(torch.autograd.Function):
    """Round to `scale` times an integer in [low, high]; the gradient passes where nothing is clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        codes = x * scale.reciprocal()
        ctx.save_for_backward(codes)
        ctx.low, ctx.high = low, high
        return codes.round().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (codes,) = ctx.saved_tensors
        # One fused pass for `grad where low - 1/2 < code < high + 1/2, else 0`.
        passed = torch.ops.aten.hardtanh_backward(grads[0], codes, ctx.low - 0.5, ctx.high + 0.5)
        return passed, None, None, None


def _round(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    return cast(Tensor, _Round.apply(x, scale, low, high))  # type: ignore[no-untyped-call]


class ActivationQuantizer(nn.Module):
    """Per-tensor quantizer; its range is a moving average of each batch's largest magnitude.

    Unsigned codes are 0..255 with zero point 0; signed ones -128..127, symmetric, so that -128 hardly occurs.
    """

    absmax: Tensor
    started: Tensor

    def __init__(self, signed: bool) -> None:
        super().__init__()
        self.observing = False
        self.low, self.high, self.levels = (-128, 127, 127) if signed else (0, 255, 255)
        self.register_buffer("absmax", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            self._observe(x.detach())
        return _round(x, self.scale(), self.low, self.high)

    def scale(self) -> Tensor:
        return activation_scale(self.absmax, self.levels)

    def _observe(self, x: Tensor) -> None:
        low, high = torch.aminmax(x)
        now = torch.maximum(-low, high)
        moved = torch.where(self.started, self.absmax * MOMENTUM + now * (1 - MOMENTUM), now)
        self.absmax.copy_(moved)
        self.started.fill_(True)


class WeightQuantizer(nn.Module):
    """Symmetric quantizer per output channel (axis 0); the scales follow the weights at every step.

    The exporter takes codes -128..127 only; dividing the largest magnitude by 127, or by 63 for 7 bits, keeps
    them within -127..127 or -63..63.
    """

    low, high = -128, 127

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = levels(bits)

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale(weight).view(-1, *[1] * (weight.dim() - 1))
        return _round(weight, scale, self.low, self.high)

    def scale(self, weight: Tensor) -> Tensor:
        return weight_scale(weight, self.levels)


class BiasQuantizer(nn.Module):
    """A bias rounded to int32 in units of input scale x weight scale, as integer kernels store it (EHAP).

    With it, what an integer kernel computes differs from this simulation in the last float rounding only.
    """

    limit = 2.0**30

    def __init__(self, activation_levels: int, weight_bits: int) -> None:
        super().__init__()
        self.activation_levels = activation_levels
        self.weight_levels = levels(weight_bits)

    def forward(self, bias: Tensor, weight: Tensor, absmax: Tensor) -> Tensor:
        """`absmax` is the input quantizer's. A bias that has no int32 code stays as it is."""
        with torch.no_grad():
            scale = activation_scale(absmax, self.activation_levels) * weight_scale(weight, self.weight_levels)
            codes = (bias / scale).round()
            change = torch.where(codes.abs() < self.limit, codes * scale, bias) - bias
        return bias + change


def levels(weight_bits: int) -> int:
    """The largest code of a symmetric weight."""
    return int(2 ** (weight_bits - 1)) - 1


def activation_scale(absmax: Tensor, levels: int) -> Tensor:
    return (absmax / levels).clamp_min(MINIMUM_SCALE)


def weight_scale(weight: Tensor, levels: int) -> Tensor:
    """One scale per output channel (axis 0)."""
    return (weight.detach().abs().flatten(1).amax(1) / levels).clamp_min(MINIMUM_SCALE)


def observe(module: nn.Module, on: bool) -> None:
    """Let every activation quantizer follow its range (training), or hold it (evaluation)."""
    for part in module.modules():
        if isinstance(part, ActivationQuantizer):
            part.observing = on
