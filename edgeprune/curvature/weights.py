"""The Hessian's diagonal, weight by weight, as a Kronecker product has it.

A layer's curvature is about A (second moments of its inputs) x G (of its outputs' gradients), as in K-FAC (Martens and
Grosse 2015, arXiv 1503.05671, section 3; for convolutions Grosse and Martens 2016, arXiv 1602.01407). The diagonal is
then

    H_(o,i) = A_ii G_oo = trace_o * A_ii / sum_i A_ii,

with trace_o the trace of output channel o's block, which is estimated (`curvature.trace`), and A_ii the mean square of
input channel i, which is observed. A is taken as the same at every kernel position: it differs at the borders only. The
diagonal estimated weight by weight from the same probes would be noise for the most part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.curvature.curvature import Curvature
from edgeprune.model.count import layers
from edgeprune.model.device import device_of
from edgeprune.model.operators import convolution_arguments, name_of
from edgeprune.model.traced import Traced


@dataclass(frozen=True)
class WeightCurvature:
    """`inputs`: weight -> mean square of the channel that each weight reads, broadcasting against the weight.

    `traces`: of the output channels; None where only weights of one output channel are compared, to which it is common.
    """

    inputs: dict[str, Tensor]
    traces: Curvature | None

    def diagonal(self, weight: str, shape: torch.Size) -> Tensor:
        """The diagonal for one weight, float64 of its shape; without traces, up to a factor per output channel.

        A trace is not known to be smaller than its standard error, so that is its floor.
        """
        moments = self.inputs[weight].double().expand(shape)
        shares = moments / moments.flatten(1).sum(1).clamp_min(1e-300).view(-1, *[1] * (len(shape) - 1))
        if self.traces is None:
            return shares
        found = self.traces.trace(weight)
        rows = torch.maximum(found.value.double(), found.standard_error.double())
        return shares * rows.view(-1, *[1] * (len(shape) - 1))


def input_moments(traced: Traced, weights: Sequence[str], x: Tensor, batch_size: int) -> dict[str, Tensor]:
    """Mean square of each input channel over images and positions, shaped to broadcast against each weight.

    Of convolutions (not transposed) and linear layers; a weight that two layers share sees the inputs of both.
    """
    nodes = {layer.node: layer.weight for layer in layers(traced) if layer.weight in weights}
    runner = _Squares(traced.module, nodes)
    with torch.no_grad():
        for part in x.split(batch_size):
            runner.run(part.to(device_of(traced)))
    moments = {}
    for node in traced.module.graph.nodes:
        name = nodes.get(node.name)
        if name is None:
            continue
        weight = traced.module.get_parameter(name)
        mean = runner.total[name] / runner.count[name]
        if name_of(node) == "linear":
            moments[name] = mean[None, :]
            continue
        groups = convolution_arguments(node)[3]
        per_row = mean.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
        moments[name] = per_row.view(*per_row.shape, *[1] * (weight.dim() - 2))
    return moments


class _Squares(fx.Interpreter):
    """Runs a graph, and sums the squares of what some of its nodes read, per channel."""

    def __init__(self, module: fx.GraphModule, nodes: dict[str, str]) -> None:
        super().__init__(module)
        self.nodes = nodes
        self.total: dict[str, Tensor] = {}
        self.count: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.name in self.nodes:
            name = self.nodes[n.name]
            args, _ = self.fetch_args_kwargs_from_env(n)
            x: Tensor = args[0].double()
            by_channel = x.flatten(0, -2) if name_of(n) == "linear" else x.movedim(1, -1).flatten(0, -2)
            squares = by_channel.square().sum(0).cpu()
            self.total[name] = self.total.get(name, torch.zeros_like(squares)) + squares
            self.count[name] = self.count.get(name, 0) + len(by_channel)
        return super().run_node(n)
