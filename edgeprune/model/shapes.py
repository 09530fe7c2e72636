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


def batch_axes(traced: Traced) -> dict[str, frozenset[int]]:
    """Return node name -> the axes whose length depends on the number of images.

    Raises:
        KeyError: the graph does not carry the symbolic shapes of its export.
    """
    found = {}
    for node in traced.module.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            sizes = enumerate(value.shape)
            found[node.name] = frozenset(axis for axis, size in sizes if isinstance(size, torch.SymInt))
    return found
