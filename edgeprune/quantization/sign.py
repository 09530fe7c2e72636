"""Tensors that cannot be negative: all 256 codes of an unsigned quantizer are theirs."""

from __future__ import annotations

import torch
from torch import fx

from edgeprune.quantization.keeps import keeps_scale, packet

ATEN = torch.ops.aten
NEVER_NEGATIVE = {ATEN.relu, ATEN.relu6, ATEN.sigmoid, ATEN.hardsigmoid, ATEN.softmax, ATEN.abs, ATEN.square}
WITH_MINIMUM = {ATEN.hardtanh: -1.0, ATEN.clamp: None, ATEN.clamp_min: None}
AVERAGES = {ATEN.avg_pool1d, ATEN.avg_pool2d, ATEN.adaptive_avg_pool1d, ATEN.adaptive_avg_pool2d, ATEN.mean}


def non_negative(node: fx.Node) -> bool:
    """Whether no value of this tensor can be below zero, whatever the input."""
    kind = packet(node)
    if kind in NEVER_NEGATIVE:
        return True
    if kind in WITH_MINIMUM:
        minimum = node.args[1] if len(node.args) > 1 else node.kwargs.get("min", WITH_MINIMUM[kind])
        return isinstance(minimum, (int, float)) and minimum >= 0
    if kind == ATEN.cat:
        parts = node.args[0]
        assert isinstance(parts, (list, tuple))
        return all(isinstance(part, fx.Node) and non_negative(part) for part in parts)
    if kind in (ATEN.add, ATEN.mul):
        return all(isinstance(arg, fx.Node) and non_negative(arg) for arg in node.args[:2]) and not node.kwargs
    if kind in AVERAGES or keeps_scale(node):
        before = node.args[0]
        return isinstance(before, fx.Node) and non_negative(before)
    return False
