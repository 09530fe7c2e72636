"""A network whose BatchNorm takes the statistics of the batch, whatever it is asked."""

from __future__ import annotations

import copy

import torch

from edgeprune.model.traced import Traced


def by_batch(traced: Traced) -> Traced:
    """A copy whose BatchNorm takes the statistics of the batch."""
    module = copy.deepcopy(traced.module)
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            x, weight, bias, _, _, _, _, eps, fast = node.args
            node.args = (x, weight, bias, None, None, True, 0.0, eps, fast)
    module.recompile()
    return Traced(module, traced.input_shape)
