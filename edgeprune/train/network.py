"""Network: an exported graph that trains like any module, for users of the Python API."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from edgeprune.model.traced import Traced, save
from edgeprune.train.modes import set_training


class Network(fx.GraphModule):
    """An exported network; `train()` and `eval()` also switch the modes that are arguments of its nodes.

    Parameters have the names of the module it came from. It needs neither that class nor pickle: `save` writes a
    `.pt2`, which `torch.export.load` and edgeprune read.
    """

    input_shape: tuple[int, ...]

    @classmethod
    def of(cls, traced: Traced) -> Network:
        network = cls(traced.module, traced.module.graph)
        network.input_shape = traced.input_shape
        network.train(False)
        return network

    def train(self, mode: bool = True) -> Network:
        set_training(self, mode)
        return super().train(mode)

    @property
    def traced(self) -> Traced:
        return Traced(self, self.input_shape)

    def save(self, path: str | Path) -> None:
        """Write a `.pt2`, in eval mode."""
        mode = self.training
        self.train(False)
        save(self.traced, Path(path))
        self.train(mode)
