"""Re-estimate BatchNorm's running statistics, which no longer fit once channels are gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced

aten = torch.ops.aten


class _Statistics(fx.Interpreter):
    """Runs a graph with batch statistics, and sums each BatchNorm's per-channel mean and variance."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.size = 0
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.target is not aten.batch_norm.default:
            return super().run_node(n)
        args, _ = self.fetch_args_kwargs_from_env(n)
        x, weight, bias, eps = args[0], args[1], args[2], args[7]
        axes = [0, *range(2, x.dim())]
        variance, mean = torch.var_mean(x, axes, correction=1)
        before = self.sums.get(n.name, (torch.zeros_like(mean), torch.zeros_like(variance)))
        self.sums[n.name] = (before[0] + self.size * mean, before[1] + self.size * variance)
        return torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def reestimate(traced: Traced, batches: Iterable[Tensor]) -> Traced:
    """Set every running mean and variance to its mean over the batches, in place; returns the same network.

    All statistics are taken in one pass, each layer seeing inputs that earlier layers normalised by their batch.
    """
    runner = _Statistics(traced.module)
    count = 0
    with torch.no_grad():
        for x in batches:
            runner.size = len(x)
            runner.run(x.to(device_of(traced)))
            count += len(x)
        for node in traced.module.graph.nodes:
            if node.name in runner.sums:
                for argument, total in zip(node.args[3:5], runner.sums[node.name], strict=True):
                    traced.module.get_buffer(str(argument.target)).copy_(total / count)
    return traced
