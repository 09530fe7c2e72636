"""Accuracy, with its doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.batches import eval_batches
from edgeprune.model.data import Split
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import Preprocessing

NumpyNetwork: TypeAlias = Callable[[NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True)
class Accuracy:
    """Share of `count` images whose label has the largest output; the error is binomial."""

    value: float
    standard_error: float
    count: int


def accuracy(
    network: nn.Module | NumpyNetwork,
    split: Split,
    preprocessing: Preprocessing,
    tick: Tick | None = None,
    batch_size: int = 250,
) -> Accuracy:
    """Run a module (as it is: nothing is set to eval mode), or any function of arrays, over a split.

    Raises:
        EdgepruneError: an output is not finite.

    """
    show = tick or silent
    run = _of_module(network) if isinstance(network, nn.Module) else _of_function(network)
    right = seen = 0
    show("evaluating", 0, len(split))
    for x, y in eval_batches(split, preprocessing, batch_size):
        logits = run(x)
        if not bool(torch.isfinite(logits).all()):
            raise EdgepruneError("the network's outputs hold NaN or infinity. Check its weights and the input's scale.")
        right += int((logits.argmax(1) == y).sum())
        seen += len(y)
        show("evaluating", seen, len(split))
    share = right / seen
    return Accuracy(share, (share * (1 - share) / seen) ** 0.5, seen)


def _of_module(module: nn.Module) -> Callable[[Tensor], Tensor]:
    device = next((p.device for p in module.parameters()), torch.device("cpu"))

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(x.to(device))
        return logits.cpu()

    return run


def _of_function(function: NumpyNetwork) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.from_numpy(np.asarray(function(x.numpy())))
