"""Training and evaluation mode of an exported graph, where the mode is an argument of its nodes."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten

_TRAINING_ARGUMENT = {
    aten.batch_norm.default: 5,
    aten.dropout.default: 2,
    aten.feature_dropout.default: 2,
    aten.alpha_dropout.default: 2,
}


def set_training(module: fx.GraphModule, training: bool) -> None:
    """Put BatchNorm and dropout nodes into training or evaluation mode, in place."""
    changed = False
    for node in module.graph.nodes:
        position = _TRAINING_ARGUMENT.get(node.target)
        own = node.target == aten.batch_norm.default and node.args[3] is None  # without running statistics
        if position is not None and not own and node.args[position] != training:
            node.update_arg(position, training)
            changed = True
    if changed:
        module.recompile()
