"""Convolutions whose second derivative costs what it must.

The derivative of a convolution's backward pass is again convolutions: with the upstream vectors X~ (for the input's
gradient) and W~ (for the weight's), those by D, x and W are `conv(X~, W) + conv(x, W~)`, `conv'(D, W~)` by the input
and `conv'(D, X~)` by the weight. torch makes the last of these a forward convolution with a kernel as large as an
image, and the first two separate ones; here the first two are one over concatenated channels, and the others one call
of the backward kernel that training uses. On a CPU core a ResNet-20's product takes 0.58 of the time.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.autograd.function import once_differentiable

from edgeprune.model.operators import arguments, name_of, per_axis

aten = torch.ops.aten
Form: TypeAlias = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation, groups."""


def make_twice_differentiable(module: fx.GraphModule) -> None:
    """Replace a graph's convolutions, in place, those with padding in numbers."""
    for node in module.graph.nodes:
        if name_of(node) not in {"conv1d", "conv2d", "conv3d"}:
            continue
        given = arguments(node)
        if isinstance(given["padding"], str):
            continue
        axes = int(name_of(node)[-2])
        stride, padding, dilation = (per_axis(given[name], axes) for name in ("stride", "padding", "dilation"))
        node.args = (given["input"], given["weight"], given["bias"], (stride, padding, dilation, given["groups"]))
        node.kwargs = {}
        node.target = convolution
    module.recompile()


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """A convolution as `aten.convolution`; under autocast in its type, as the operator itself."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        half = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(half), weight.to(half), None if bias is None else bias.to(half)
    result: Tensor = _Forward.apply(x, weight, bias, form)  # type: ignore[no-untyped-call]
    return result


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form = form
        result: Tensor = _convolved(x, weight, bias, form)
        return result

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        by_x, by_weight = _Backward.apply(slope, x, weight, ctx.form, needs_x, needs_weight)  # type: ignore[no-untyped-call]
        return by_x, by_weight, slope.sum((0, *range(2, slope.dim()))) if needs_bias else None, None


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, form: Form, needs_x: bool, needs_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(slope, x, weight)
        ctx.form = form
        ctx.set_materialize_grads(False)
        return _pulled(slope, x, weight, form, needs_x, needs_weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_x: Tensor | None, to_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        slope, x, weight = ctx.saved_tensors
        by_slope = None
        if ctx.needs_input_grad[0]:
            by_slope = _pushed(x, weight, to_x, to_weight, ctx.form)
        needs_x = ctx.needs_input_grad[1] and to_weight is not None
        needs_weight = ctx.needs_input_grad[2] and to_x is not None
        by_x, by_weight = _pulled(
            slope,
            x if to_x is None else to_x,
            weight if to_weight is None else to_weight,
            ctx.form,
            needs_x,
            needs_weight,
        )
        return by_slope, by_x, by_weight, None, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    stride, padding, dilation, groups = form
    result: Tensor = aten.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)
    return result


def _pushed(x: Tensor, weight: Tensor, to_x: Tensor | None, to_weight: Tensor | None, form: Form) -> Tensor | None:
    """`conv(X~, W) + conv(x, W~)`, of those vectors that are there."""
    if to_x is not None and to_weight is not None and form[3] == 1:
        return _convolved(torch.cat([to_x, x], 1), torch.cat([weight, to_weight], 1), None, form)
    terms = [_convolved(to_x, weight, None, form)] if to_x is not None else []
    terms += [_convolved(x, to_weight, None, form)] if to_weight is not None else []
    return None if not terms else terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _pulled(
    slope: Tensor, x: Tensor, weight: Tensor, form: Form, needs_x: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """`conv'(slope, W)` by the input and `conv'(slope, x)` by the weight, as far as they are needed."""
    if not (needs_x or needs_weight):
        return None, None
    stride, padding, dilation, groups = form
    by_x, by_weight, _ = aten.convolution_backward(
        slope, x, weight, None, stride, padding, dilation, False, [0] * len(stride), groups,
        [needs_x, needs_weight, False],
    )  # fmt: skip
    return by_x, by_weight
