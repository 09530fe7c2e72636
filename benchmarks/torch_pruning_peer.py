"""Torch-Pruning on the ResNet-20, cut until the multiply-adds are as asked.

    pip install torch-pruning torchvision

Its Hessian importance is measured as shipped and mended: in 1.6.1 `GroupHessianImportance.accumulate_grad` looks a
parameter up by its name and stores it by itself, so that only the last image counts.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor, nn
from zoo_networks import import_for

from edgeprune.model.count import macs
from edgeprune.model.traced import Traced, trace

STEPS = 50
SHAPE = (3, 32, 32)
IMAGES = 64
"""Whose gradients the Hessian importance takes before every step."""
IMPORTANCES = ("magnitude", "Hessian", "Hessian, mended")


def cut(
    module: nn.Module,
    left: float,
    multiple: int,
    importance: str = "magnitude",
    data: tuple[Tensor, Tensor] | None = None,
) -> Traced:
    """Prune by groups ranked over the whole network, in steps; `data`: labelled images for the Hessian importance."""
    with contextlib.redirect_stdout(io.StringIO()):
        import_for([], "torch_pruning")
        import torch_pruning

        whole = macs(trace(module, SHAPE))
        scorer = _scorer(importance)
        pruner = torch_pruning.pruner.BasePruner(
            module,
            torch.randn(1, *SHAPE),
            importance=scorer,
            global_pruning=True,
            pruning_ratio=0.9,
            max_pruning_ratio=0.95,
            iterative_steps=STEPS,
            ignored_layers=[module.linear],
            round_to=multiple if multiple > 1 else None,
        )
        for _ in range(STEPS):
            if data is not None and importance != "magnitude":
                _accumulate(scorer, module, *data)
            pruner.step()
            module.zero_grad(set_to_none=True)
            traced = trace(module, SHAPE)
            if macs(traced) <= left * whole:
                break
    for parameter in traced.module.parameters():
        parameter.requires_grad_(True)
    return traced


def _scorer(importance: str) -> Any:
    from torch_pruning.pruner.importance import GroupHessianImportance, GroupMagnitudeImportance

    class Mended(GroupHessianImportance):
        def accumulate_grad(self, model: nn.Module) -> None:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    square = parameter.grad.detach().square()
                    self._accu_grad[parameter] = self._accu_grad.get(parameter, 0) + square
                    self._counter[parameter] = self._counter.get(parameter, 0) + 1

    if importance == "magnitude":
        return GroupMagnitudeImportance(p=2)
    return Mended() if importance == "Hessian, mended" else GroupHessianImportance()


def _accumulate(scorer: Any, module: nn.Module, x: Tensor, y: Tensor) -> None:
    """As its documentation says: the squared gradients of each image's loss."""
    scorer.zero_grad()
    for image, label in zip(x[:IMAGES].split(1), y[:IMAGES].split(1), strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(image), label).backward()
        scorer.accumulate_grad(module)
