"""Merging channels that go into channels that stay, in the layers that read them.

What a layer reads from a channel that goes is written as a combination of the channels that stay there, by ridge least
squares over images and positions, and folded into the layer's weights, as is a constant (He et al. 2017, arXiv
1707.06168, fit the layer's outputs so; here its inputs, which serves every kernel position alike). Every layer has its
own combination: a channel of a residual stream is another one in front of each. A depthwise convolution mixes no
channels; what stands for its channel is found in the layer after it. Where two channels are the same, or one is a
multiple of the other, nothing is lost.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgeprune.compact.keeps import Keeps
from edgeprune.curvature.layer_gradients import SimpleLayer, Watched, as_pictures, simple_layers
from edgeprune.model.attributes import attribute
from edgeprune.model.device import device_of
from edgeprune.model.operators import arguments
from edgeprune.model.provenance import Provenance
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced

RIDGE = 1e-4
"""Of the mean square of a channel."""
aten = torch.ops.aten


@dataclass(frozen=True)
class Merged:
    """What a layer reads of the channels that go: `explained` is the share of their variance that is found again."""

    weight: str
    gone: int
    kept: int
    explained: float


def merge_channels(
    traced: Traced, found: Provenance, units: frozenset[int], x: Tensor, batch_size: int = 128, ridge: float = RIDGE
) -> tuple[Traced, list[Merged]]:
    """A copy of a network whose layers ask the units that stay for what the others gave; cut it then.

    Args:
        traced: the network; it is not changed.
        found: its provenance.
        units: those that will go.
        x: calibration images `[n, ...]`.
        batch_size: images at a time.
        ridge: see `RIDGE`.
    """
    twin = Traced(copy.deepcopy(traced.module), traced.input_shape)
    keeps = Keeps(found, found.closed(units))
    masks = {}
    for name, _ in twin.module.named_parameters():
        kept = keeps.of_parameter(name).get(1)
        if kept is not None and bool(kept.any()):
            masks[name] = kept
    layers = [layer for layer in simple_layers(twin, node_shapes(twin), [*masks]) if layer.geometry.groups == 1]
    moments = _moments(twin, layers, x, batch_size)
    nodes = {node.name: node for node in twin.module.graph.nodes}
    return twin, [
        _fold(twin.module, nodes[layer.node], layer.weight, masks[layer.weight], moments[layer.weight], ridge)
        for layer in layers
    ]


def _moments(traced: Traced, layers: list[SimpleLayer], x: Tensor, batch_size: int) -> dict[str, Tensor]:
    """Second moments of what layers read per channel, and of a constant 1 as the last: `[C + 1, C + 1]`, float64."""
    total: dict[str, Tensor] = {}
    count = dict.fromkeys((layer.weight for layer in layers), 0)
    for part in x.split(batch_size):
        watched = Watched(traced.module, [layer.node for layer in layers])
        with torch.no_grad():
            watched.run(part.to(device_of(traced)))
        for layer in layers:
            read = as_pictures(layer, watched.inputs[layer.node]).movedim(1, 0).flatten(1)  # [C, n P]
            read = torch.cat([read, torch.ones_like(read[:1])])
            moment = (read @ read.T).double().cpu()
            total[layer.weight] = total.get(layer.weight, torch.zeros_like(moment)) + moment
            count[layer.weight] += read.shape[1]
    return {name: moment / count[name] for name, moment in total.items()}


def _fold(module: fx.GraphModule, node: fx.Node, name: str, kept: Tensor, moment: Tensor, ridge: float) -> Merged:
    """Add to the weights of the channels that stay what those that go are worth in them."""
    given = arguments(node)
    holder = _constant_holder(node, given.get("bias"))
    places = kept.nonzero().flatten()
    stay = torch.cat([places, torch.tensor([len(kept)])]) if holder is not None else places
    gone = (~kept).nonzero().flatten()
    own = moment[stay][:, stay]
    own = own + ridge * own.diagonal()[: len(places)].mean() * torch.eye(len(stay), dtype=torch.float64)
    shares = torch.linalg.solve(own, moment[stay][:, gone])  # [stay, gone]
    left = moment[gone, gone].sum() - 2 * (shares * moment[stay][:, gone]).sum()
    left = left + (shares * (moment[stay][:, stay] @ shares)).sum()
    spread = (moment[gone, gone] - moment[gone, -1].square()).sum().clamp_min(1e-300)
    weight = module.get_parameter(name)
    lost = weight.detach()[:, gone].double().cpu()
    with torch.no_grad():
        added = torch.einsum("sg,og...->os...", shares[: len(places)], lost)
        weight[:, places.to(weight.device)] += added.to(weight)
        if holder is not None:
            constant = lost.flatten(2).sum(2) @ shares[-1] if lost.dim() > 2 else lost @ shares[-1]
            value, sign = attribute(module, holder[0]), holder[1]
            value += sign * constant.to(value)
    return Merged(name, len(gone), len(places), float(1 - left / spread))


def _constant_holder(node: fx.Node, bias: fx.Node | None) -> tuple[str, float] | None:
    """What takes a constant that is added to a layer's outputs, and with which sign: its bias, or BatchNorm's mean."""
    if bias is not None:
        return (str(bias.target), 1.0) if bias.op == "get_attr" else None
    if len(node.users) == 1:
        (after,) = node.users
        if after.target is aten.batch_norm.default:
            return str(after.args[3].target), -1.0
    return None
