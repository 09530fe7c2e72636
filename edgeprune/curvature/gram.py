"""Second moments of what layers read: the Hessian of a layer's squared output error by the weights of one output.

With the patches u that a kernel covers (`[K]`, K weights per output channel), the error `sum ||(W - W0) u||^2 / m` has
the Hessian `2 E[u u']` for every output channel (Hassibi and Stork 1993; Frantar and Alistarh 2023, arXiv 2301.00774).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeprune.curvature.layer_gradients import Watched, simple_layers, unfolded
from edgeprune.errors import EdgepruneError
from edgeprune.model.device import device_of
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced


def input_second_moments(traced: Traced, weights: Sequence[str], x: Tensor, batch_size: int) -> dict[str, Tensor]:
    """`E[u u']` over images and positions: weight name -> `[groups, K, K]`, float64.

    Its rows go with the weight's axes after the first, flattened.

    Args:
        traced: the network.
        weights: of `conv1d`, `conv2d` and `linear` layers, each read by one node.
        x: images `[n, ...]`.
        batch_size: images at a time.

    Raises:
        EdgepruneError: a weight is something else's.
    """
    layers = simple_layers(traced, node_shapes(traced), weights)
    if missing := set(weights) - {layer.weight for layer in layers}:
        raise EdgepruneError(f"{min(missing)} is no weight of a convolution or linear layer of its own. Leave it out.")
    total: dict[str, Tensor] = {}
    count = dict.fromkeys(weights, 0)
    for part in x.split(batch_size):
        watched = Watched(traced.module, [layer.node for layer in layers])
        with torch.no_grad():
            watched.run(part.to(device_of(traced)))
        for layer in layers:
            patches = unfolded(layer, watched.inputs[layer.node]).double()  # [n, groups, K, P]
            moment = torch.einsum("ngkp,nglp->gkl", patches, patches).cpu()
            total[layer.weight] = total.get(layer.weight, torch.zeros_like(moment)) + moment
            count[layer.weight] += patches.shape[0] * patches.shape[3]
    return {name: moment / count[name] for name, moment in total.items()}


DAMPING = 0.01
"""Of the mean diagonal, which keeps the moments of few images invertible (as Frantar and Alistarh's code)."""


def solved_moments(traced: Traced, weights: Sequence[str], x: Tensor, batch_size: int) -> dict[str, Tensor]:
    """`1 / [A^-1]_ii` of the input moments A: the moment of an input that the others do not make up for.

    Returns:
        weight name -> a tensor that broadcasts against the weight, float64.

    Raises:
        EdgepruneError: a weight is no convolution's or linear layer's own.
    """
    found = {}
    for name, moments in input_second_moments(traced, weights, x, batch_size).items():
        shape = traced.module.get_parameter(name).shape
        diagonal = moments.diagonal(dim1=1, dim2=2)
        # An input that is always zero has nothing to lose, whatever its weight.
        added = DAMPING * diagonal.mean(1, keepdim=True) + (diagonal == 0).double()
        inverse = torch.linalg.inv(moments + torch.diag_embed(added)).diagonal(dim1=1, dim2=2)
        rows = torch.where(diagonal == 0, 0.0, 1 / inverse)
        found[name] = rows.repeat_interleave(shape[0] // len(rows), 0).view(shape)
    return found
