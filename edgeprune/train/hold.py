"""Weights held at zero while everything else trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

AfterStep = Callable[[nn.Module, torch.optim.Optimizer], None]
"""Called after every optimizer step."""


def holding(kept: Mapping[str, Tensor]) -> AfterStep:
    """Return a step that zeroes the weights that are not kept (name -> bool, as the weight), and their momentum.

    The momentum too: it would move a weight again at the next step, and keeps what weight decay made of it.
    """
    gone: dict[str, Tensor] = {}

    def hold(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, mask in kept.items():
                weight = parameters[name]
                if name not in gone or gone[name].device != weight.device:
                    gone[name] = ~mask.to(weight.device)
                weight.masked_fill_(gone[name], 0)
                for value in optimizer.state.get(weight, {}).values():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        value.masked_fill_(gone[name], 0)

    return hold
