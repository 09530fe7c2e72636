"""Neural implants: 1x1 convolutions in place of channels that would have been cut (`pruning.implants`).

    conv -> norm -> activation          conv ----> norm -> activation --\
                                  =>                                     cat -> (index_select)
                                        implant -> norm -> activation --/

A convolution keeps its own channels; its implant makes the others from the same input, starting at zero. Norm and
activation that follow are done on each part, so that the runtimes fuse them as before. The channels of a group are put
in a new order first, the implanted ones last: the concatenation then is what the readers expect. Where that order
cannot be had, as in a sum with streams of other widths, the channels are gathered into their old places. That only
needs to be right for channels that are not zero yet: what an implant learns, it learns in its place.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.compact.apply import Compacted
from edgeprune.compact.check import TOLERANCE, Proof, in_precision, relative
from edgeprune.errors import EdgepruneError
from edgeprune.model.attributes import attribute, free_name, set_attribute
from edgeprune.model.groups import Axis
from edgeprune.model.operators import arguments, name_of, only_reader
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.implantable import CONVOLUTIONS
from edgeprune.pruning.plan import Prunable

aten = torch.ops.aten

NAME = "implant"
"""The submodule of a layer that holds its implant's parameters."""
ELEMENTWISE = frozenset({
    "clamp", "clamp_min", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6",
    "sigmoid", "silu", "tanh",
})  # fmt: skip
"""What can be done before a concatenation as well as after it."""


def implanted(done: Compacted, ground: Prunable, x: Tensor) -> Compacted:
    """Put the chosen implants into a compacted network, and prove on the images `x` that nothing else changed.

    Raises:
        EdgepruneError: the network differs from the one in which the same channels of the convolutions are zero.
    """
    if not done.cuts.implants:
        return done
    plain = _rows(done, ground, {})
    try:
        orders = _orders(done, ground)
        traced, proof = _implant(done.traced, plain, orders, _rows(done, ground, orders), x)
    except EdgepruneError:  # an operator that treats places of one group differently: they keep their order
        traced, proof = _implant(done.traced, plain, {}, plain, x)
    both = Proof(max(done.proof.float32, proof.float32), max(done.proof.float64, proof.float64))
    return replace(done, traced=traced, proof=both)


def _rows(done: Compacted, ground: Prunable, orders: dict[Axis, Tensor]) -> dict[str, Tensor]:
    """For each convolution that gets an implant, which of its channels that makes, `[outputs]` of booleans."""
    left, chosen = dict(done.traced.module.named_parameters()), torch.tensor(sorted(done.cuts.implants))
    found = {}
    for name in ground.sites:
        if name in left:
            labels = _labels(done, ground, (name, 0))
            rows = torch.isin(labels[orders[name, 0]] if (name, 0) in orders else labels, chosen)
            if bool(rows.any()):
                found[name] = rows
    return found


def _labels(done: Compacted, ground: Prunable, axis: Axis) -> Tensor:
    """The labels along an axis of the compacted network."""
    labels = ground.found.axes[axis[0]][axis[1]]
    return labels[~torch.isin(labels, torch.tensor(sorted(done.cuts.units), dtype=labels.dtype))]


def _orders(done: Compacted, ground: Prunable) -> dict[Axis, Tensor]:
    """Where each place along an axis comes from, when every group's implanted units are to come after its others."""
    module, orders = done.traced.module, dict[Axis, Tensor]()
    names = {name for name, _ in [*module.named_parameters(), *module.named_buffers()]}
    for group in ground.groups:
        stay = [unit for unit in group.units if unit not in done.cuts.units]
        target = sorted(range(len(stay)), key=[unit in done.cuts.implants for unit in stay].__getitem__)
        if target == [*range(len(stay))]:
            continue
        for axis in group.places:
            if axis[0] not in names:
                continue
            labels = _labels(done, ground, axis)
            places = torch.stack([(labels == unit).nonzero().flatten() for unit in stay])
            orders.setdefault(axis, torch.arange(len(labels)))[places] = places[target]
    return orders


def _implant(
    before: Traced, silenced: dict[str, Tensor], orders: dict[Axis, Tensor], rows: dict[str, Tensor], x: Tensor
) -> tuple[Traced, Proof]:
    """Return the network with implants, and the proof. `silenced`: the `rows` in the old order."""
    module = copy.deepcopy(before.module)
    for (name, axis), order in orders.items():
        whole = attribute(module, name)
        moved = whole.detach().index_select(axis, order.to(whole.device)).contiguous()
        set_attribute(
            module, name, nn.Parameter(moved, whole.requires_grad) if isinstance(whole, nn.Parameter) else moved
        )
    for name, made in rows.items():
        _put(module, _reader(module, name), made)
    module.graph.lint()
    module.recompile()
    after = trace(module, before.input_shape)
    reached = {}
    for dtype, tolerance in TOLERANCE.items():
        reference = _Silenced(in_precision(dtype, before.module), silenced)
        with torch.no_grad():
            wanted = reference.run(x.to(dtype))
            got = in_precision(dtype, after.module if dtype == torch.float32 else module)(x.to(dtype))
        reached[dtype] = relative(got, wanted)
        if not reached[dtype] <= tolerance:
            raise EdgepruneError(
                f"the network with implants differs by {reached[dtype]:.1e} ({dtype}) from the one in which their "
                "channels are zero. Leave --implant out, and report the network."
            )
    return after, Proof(reached[torch.float32], reached[torch.float64])


class _Silenced(fx.Interpreter):
    """Runs a graph in which some output channels of convolutions are zero before the bias; it knows no implant."""

    def __init__(self, module: fx.GraphModule, rows: dict[str, Tensor]) -> None:
        super().__init__(module)
        self._rows = rows

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        weight = arguments(n)["weight"] if name_of(n) in CONVOLUTIONS else None
        rows = self._rows.get(str(weight.target)) if isinstance(weight, fx.Node) else None
        if rows is None:
            return value
        bias, view = arguments(n)["bias"], [-1, *[1] * (value.dim() - 2)]
        alone = self.env[bias].view(view) if bias is not None else value.new_zeros(())
        return torch.where(rows.to(value.device).view(view), alone, value)


def _reader(module: fx.GraphModule, weight: str) -> fx.Node:
    """The one convolution that reads a weight."""
    for node in module.graph.nodes:
        if name_of(node) in CONVOLUTIONS and str(getattr(arguments(node)["weight"], "target", "")) == weight:
            found: fx.Node = node
            return found
    raise EdgepruneError(f"no convolution reads {weight} any more. Leave --implant out, and report the network.")


def _put(module: fx.GraphModule, layer: fx.Node, rows: Tensor) -> None:
    """Split a convolution into its own channels and an implant, and what follows it as far as that can be split."""
    graph, given = module.graph, arguments(layer)
    name = str(given["weight"].target)
    weight = attribute(module, name)
    rows = rows.to(weight.device)
    set_attribute(module, name, nn.Parameter(weight.detach()[~rows].contiguous()))
    zeros = weight.new_zeros(int(rows.sum()), weight.shape[1], *[1] * (weight.dim() - 2))
    with graph.inserting_before(layer):
        stored = _store(module, name, nn.Parameter(zeros))
        bias = _split(module, given["bias"], rows) if given["bias"] is not None else None
        made = graph.call_function(
            getattr(aten, name_of(layer)).default, (given["input"], stored, bias, given["stride"])
        )
    own = layer
    while (following := _splittable(own)) is not None:
        with graph.inserting_before(following):
            parts = {own: made}
            for stored in following.all_input_nodes:
                if stored is not own:
                    parts[stored] = _split(module, stored, rows)
            made = graph.node_copy(following, parts.__getitem__)
        own = following
    readers = [*own.users]
    with graph.inserting_before(own.next):
        joined = graph.call_function(aten.cat.default, ([own, made], 1))
        places = torch.cat([(~rows).nonzero().flatten(), rows.nonzero().flatten()])
        if not torch.equal(places, places.sort().values):
            index = free_name(module, f"_gather_{layer.name}")
            set_attribute(module, index, places.argsort())
            joined = graph.call_function(aten.index_select.default, (joined, 1, graph.get_attr(index)))
    for reader in readers:
        reader.replace_input_with(own, joined)


def _splittable(node: fx.Node) -> fx.Node | None:
    """The operator that alone reads a node, if it does the same to any part of its channels."""
    following = next(iter(node.users)) if len(node.users) == 1 else None
    if following is None or following.args[0] is not node:
        return None
    others = [other for other in following.all_input_nodes if other is not node]
    if name_of(following) == "batch_norm" and all(only_reader(other) for other in others):
        return following
    return following if name_of(following) in ELEMENTWISE and not others else None


def _split(module: fx.GraphModule, node: fx.Node, rows: Tensor) -> fx.Node:
    """Take the implanted channels out of a stored tensor of one value per channel; returns those."""
    whole = attribute(module, str(node.target))
    own, taken = whole.detach()[~rows].contiguous(), whole.detach()[rows].contiguous()
    if isinstance(whole, nn.Parameter):
        own, taken = nn.Parameter(own, whole.requires_grad), nn.Parameter(taken, whole.requires_grad)
    set_attribute(module, str(node.target), own)
    return _store(module, str(node.target), taken)


def _store(module: fx.GraphModule, beside: str, value: Tensor) -> fx.Node:
    """Store an implant's tensor below the layer whose own tensor is `beside`, and read it."""
    owner, _, leaf = beside.rpartition(".")
    home = f"{owner}.{NAME}" if owner else NAME
    if home not in dict(module.named_modules()):
        module.add_submodule(home, nn.Module())
    name = free_name(module, f"{home}.{leaf}")
    set_attribute(module, name, value)
    stored: fx.Node = module.graph.get_attr(name)
    return stored
