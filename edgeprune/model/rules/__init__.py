"""How channel labels pass through operators: the table behind `provenance`.

Most operators need no thought. Shape operators are simply run on the label tensor; elementwise ones unite the labels
that meet. What is left has a file per kind. A rule ties or freezes, it never refuses: tying too much only couples
channels, so every rule is sound for inputs that it did not expect.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgeprune.model.flow import Flow
from edgeprune.model.rules import contraction, layers, pointwise, reshape, space, sums

aten = torch.ops.aten
Rule = Callable[[Flow, fx.Node], Any]


def _overloads(rule: Rule, names: str) -> dict[Any, Rule]:
    """Every overload of the ATen operators named, under one rule."""
    table: dict[Any, Rule] = {}
    for name in names.split():
        packet = getattr(aten, name, None)
        for overload in packet.overloads() if packet is not None else ():
            table[getattr(packet, overload)] = rule
    return table


RULES: dict[Any, Rule] = {
    **_overloads(layers.convolution, "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"),
    **_overloads(layers.linear, "linear"),
    **_overloads(layers.per_channel_norm, "batch_norm instance_norm"),
    **_overloads(layers.group_norm, "group_norm"),
    **_overloads(layers.layer_norm, "layer_norm rms_norm"),
    **_overloads(layers.prelu, "prelu"),
    **_overloads(contraction.matmul, "matmul bmm mm"),
    **_overloads(contraction.biased_matmul, "addmm"),
    **_overloads(contraction.attention, "scaled_dot_product_attention"),
    **_overloads(contraction.einsum, "einsum"),
    **_overloads(
        pointwise.elementwise,
        "sub rsub mul div true_divide floor_divide remainder minimum maximum pow lerp addcmul addcdiv "
        "where masked_fill relu relu6 hardtanh hardswish hardsigmoid hardshrink softshrink sigmoid logsigmoid "
        "silu gelu elu selu celu leaky_relu rrelu mish softplus softsign tanh tanhshrink threshold clamp "
        "clamp_min clamp_max clip abs neg negative exp expm1 log log1p log2 sqrt rsqrt square reciprocal erf "
        "sin cos tan atan sign floor ceil round eq ne lt le gt ge logical_and logical_or logical_not "
        "bitwise_and bitwise_or bitwise_not isnan isinf nan_to_num",
    ),
    **_overloads(sums.added, "add"),
    **_overloads(pointwise.gated, "glu"),
    **_overloads(pointwise.mixed, "softmax _softmax log_softmax _log_softmax cumsum cumprod logcumsumexp"),
    **_overloads(
        pointwise.same,
        "dropout feature_dropout alpha_dropout feature_alpha_dropout zeros_like ones_like full_like "
        "empty_like contiguous clone detach alias to _to_copy type_as lift_fresh_copy dropout1d dropout2d",
    ),
    **_overloads(pointwise.created, "zeros ones full arange scalar_tensor empty new_zeros new_ones new_full new_empty"),
    **_overloads(
        space.pooled,
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
        "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
        "max_pool2d_with_indices upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d "
        "upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    ),
    **_overloads(
        space.reduced,
        "mean sum amax amin prod var std var_mean std_mean logsumexp linalg_vector_norm norm frobenius_norm any all",
    ),
    **_overloads(space.padded, "pad constant_pad_nd reflection_pad2d replication_pad2d"),
    **_overloads(space.unfolded, "im2col"),
    **_overloads(space.folded, "col2im"),
    **_overloads(space.shuffled, "pixel_shuffle pixel_unshuffle"),
    **_overloads(space.channel_shuffled, "channel_shuffle native_channel_shuffle"),
    **_overloads(
        reshape.run,
        "view reshape _unsafe_view flatten unflatten ravel permute transpose t mT numpy_T movedim moveaxis "
        "swapaxes slice select cat concat split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split "
        "unbind squeeze unsqueeze expand expand_as view_as reshape_as narrow stack hstack vstack repeat "
        "repeat_interleave tile flip rot90 unfold diagonal roll sym_size",
    ),
    **_overloads(reshape.indexed, "index index_select"),
    **dict.fromkeys((aten.max.dim, aten.min.dim), space.reduced),
    **dict.fromkeys((aten.max.other, aten.min.other, aten.copy.default), pointwise.elementwise),
    operator.getitem: reshape.item,
    **dict.fromkeys(reshape.SCALARS, reshape.run),
}


def rule_for(target: Any) -> Rule | None:
    """The rule of an operator; what torch itself tags as elementwise needs no row of its own."""
    rule = RULES.get(target)
    if rule is None and isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags:
        return pointwise.elementwise
    return rule
