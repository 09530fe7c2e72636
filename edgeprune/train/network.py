"""Network: an exported graph that trains like any module, for users of the Python API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.traced import Traced, save
from edgeprune.train.hold import holding
from edgeprune.train.modes import set_training


class Network(fx.GraphModule):
    """An exported network; `train()` and `eval()` also switch the modes that are arguments of its nodes.

    Parameters have the names of the module it came from. It needs neither that class nor pickle: `save` writes a
    `.pt2`, which `torch.export.load` and edgeprune read.
    """

    input_shape: tuple[int, ...]
    pattern: str
    """In which form weights were pruned."""
    kept: dict[str, Tensor]
    """With a mask pattern: weight name -> bool of its shape, True where it stays."""

    @classmethod
    def of(cls, traced: Traced, pattern: str = "channel", kept: Mapping[str, Tensor] | None = None) -> Network:
        network = cls(traced.module, traced.module.graph)
        network.input_shape, network.pattern, network.kept = traced.input_shape, pattern, dict(kept or {})
        network.train(False)
        return network

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        module = super().__deepcopy__(memo)
        copied = Network(module, module.graph)
        copied.input_shape, copied.pattern = self.input_shape, self.pattern
        copied.kept = {name: mask.clone() for name, mask in self.kept.items()}
        return copied.train(self.training)

    def train(self, mode: bool = True) -> Network:
        set_training(self, mode)
        return super().train(mode)

    @property
    def traced(self) -> Traced:
        return Traced(self, self.input_shape)

    def hold(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep masked weights, and their momentum, at zero after every step of an optimizer; call it once."""
        step = holding(self.kept)
        optimizer.register_step_post_hook(lambda stepped, _args, _kwargs: step(self, stepped))

    def save(self, path: str | Path) -> None:
        """Write a `.pt2`, in eval mode."""
        mode = self.training
        self.train(False)
        save(self.traced, Path(path))
        self.train(mode)
