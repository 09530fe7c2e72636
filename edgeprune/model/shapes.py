"""The shape of every tensor in an exported graph, for one image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.traced import Traced

Shapes = dict[str, tuple[int, ...]]


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n.name] = tuple(value.shape)
        return value


def node_shapes(traced: Traced) -> Shapes:
    """Return node name -> shape at batch 1, by running the network once on zeros."""
    recorder = _Recorder(traced.module)
    with torch.no_grad():
        recorder.run(traced.example(batch=1))
    return recorder.shapes
