"""Units: the layers and operators that run in INT8, each with the quantizers that this takes.

A unit may be left in higher precision: it then reads tensors and weights as they are. A tensor that it alone reads
loses its quantizer, and under ONNX Runtime the convolution that writes it runs in float with it, since an integer one
exists only with a quantizer behind it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass

from torch import fx

from edgeprune.model.fold import drop_dead
from edgeprune.model.traced import Traced
from edgeprune.quantization.graph import is_quantizer, unrounded
from edgeprune.quantization.keeps import keeps_scale, packet
from edgeprune.quantization.place import (
    CONVOLUTIONS,
    FUSED_ACTIVATIONS,
    PRODUCTS,
    WITH_KERNEL,
    Runtime,
    is_layer,
)


@dataclass(frozen=True)
class Unit:
    """`reads`: the quantizers of the tensors that it reads; `stored`: of its weight and bias; `writes`: of what it
    writes, where no other unit reads that.
    """

    name: str
    node: fx.Node
    reads: tuple[fx.Node, ...]
    stored: tuple[fx.Node, ...]
    writes: tuple[fx.Node, ...]

    @property
    def quantizers(self) -> tuple[fx.Node, ...]:
        return (*self.reads, *self.stored, *self.writes)


def units(module: fx.GraphModule, runtime: Runtime) -> dict[str, Unit]:
    """Every unit of a graph with quantizers, by name: a layer's that of its weight, else the node's."""
    found: dict[str, Unit] = {}
    for node in module.graph.nodes:
        if not _may_be_unit(node, runtime):
            continue
        reads = tuple(dict.fromkeys(q for arg in _activations(node) if (q := _quantizer_of(arg)) is not None))
        stored = tuple(arg for arg in _stored(node, runtime) if is_quantizer(arg))
        if not reads:
            continue
        name = str(unrounded(node.args[1]).target).removesuffix(".weight") if is_layer(node, runtime) else node.name
        while name in found:  # a layer that is called again
            name += "_"
        found[name] = Unit(name, node, reads, stored, _writes(node, runtime))
    return found


def leave(traced: Traced, names: Collection[str], runtime: Runtime) -> tuple[Traced, tuple[str, ...]]:
    """Return a copy in which these units run in higher precision, and the units that run in float because of it.

    Raises:
        KeyError: a name of no unit.
    """
    module = copy.deepcopy(traced.module)
    every = units(module, runtime)
    left = {every[name].node for name in names}
    for name in names:
        unit = every[name]
        for quantizer in unit.stored:
            unit.node.replace_input_with(quantizer, unrounded(quantizer))
        for arg in _activations(unit.node):
            _read_unrounded(unit.node, arg)
    for quantizer in [n for n in module.graph.nodes if is_quantizer(n) and unrounded(n).op != "get_attr"]:
        if not _is_needed(quantizer, left, runtime):
            quantizer.replace_all_uses_with(quantizer.args[0])
            module.graph.erase_node(quantizer)
    parted = tuple(
        name
        for name, unit in every.items()
        if unit.node not in left and runtime == "onnxruntime" and not _fuses(unit.node)
    )
    for name in parted:
        for quantizer in every[name].stored:
            every[name].node.replace_input_with(quantizer, unrounded(quantizer))
    drop_dead(module)
    module.graph.lint()
    return Traced(module, traced.input_shape), parted


def _may_be_unit(node: fx.Node, runtime: Runtime) -> bool:
    return is_layer(node, runtime) or packet(node) in PRODUCTS | WITH_KERNEL


def _activations(node: fx.Node) -> list[fx.Node]:
    """The tensors that a unit reads, behind quantizers and moves or not."""
    given = node.args[0] if isinstance(node.args[0], list | tuple) else node.args[:2]
    assert isinstance(given, list | tuple)
    return [arg for arg in given if isinstance(arg, fx.Node) and unrounded(arg).op != "get_attr"]


def _stored(node: fx.Node, runtime: Runtime) -> list[fx.Node]:
    return [arg for arg in node.args[1:3] if isinstance(arg, fx.Node)] if is_layer(node, runtime) else []


def _quantizer_of(node: fx.Node) -> fx.Node | None:
    while keeps_scale(node):
        before = node.args[0]
        assert isinstance(before, fx.Node)
        node = before
    return node if is_quantizer(node) else None


def _writes(node: fx.Node, runtime: Runtime) -> tuple[fx.Node, ...]:
    end = _end(node)
    return tuple(
        user
        for user in end.users
        if is_quantizer(user) and not any(_may_be_unit(reader, runtime) for reader in _readers(user))
    )


def _readers(node: fx.Node) -> set[fx.Node]:
    """Who reads a tensor's values, behind whatever moves them."""
    found: set[fx.Node] = set()
    for user in node.users:
        found |= _readers(user) if keeps_scale(user) else {user}
    return found


def _end(node: fx.Node) -> fx.Node:
    users = [*node.users]
    return users[0] if len(users) == 1 and packet(users[0]) in FUSED_ACTIVATIONS else node


def _read_unrounded(reader: fx.Node, arg: fx.Node) -> None:
    """Let a unit read a tensor in front of its quantizer, where nothing else reads what lies between."""
    while not is_quantizer(arg):
        if not keeps_scale(arg) or len(arg.users) > 1:
            return
        reader, arg = arg, arg.args[0]  # type: ignore[assignment]
    reader.replace_input_with(arg, unrounded(arg))


def _is_needed(quantizer: fx.Node, left: set[fx.Node], runtime: Runtime) -> bool:
    """Whether a unit that stays in INT8 reads a tensor's codes, or writes them."""
    if any(_may_be_unit(reader, runtime) and reader not in left for reader in _readers(quantizer)):
        return True
    writer = quantizer.args[0]
    assert isinstance(writer, fx.Node)
    if packet(writer) in FUSED_ACTIVATIONS:
        writer = writer.args[0]
        assert isinstance(writer, fx.Node)
    return runtime == "onnxruntime" and packet(writer) in CONVOLUTIONS and writer not in left and _fuses(writer)


def _fuses(node: fx.Node) -> bool:
    """Whether an integer convolution can write this one's output: a quantizer alone reads it."""
    return packet(node) not in CONVOLUTIONS or all(is_quantizer(user) for user in _end(node).users)
