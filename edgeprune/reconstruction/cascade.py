"""The walk over a network's layers in the order of its graph, each rebuilt on inputs from the network as it is so far.

BatchNorm is folded into the layer before it for the time of the walk: a layer's output is then what the BatchNorm puts
out, at the scale at which the network goes on with it, and no pass is spent on BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from edgeprune.curvature.layer_gradients import SimpleLayer, simple_layers
from edgeprune.model.attributes import attribute
from edgeprune.model.device import device_of
from edgeprune.model.fold import fold_with_record
from edgeprune.model.operators import arguments
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced
from edgeprune.reconstruction.front import Front
from edgeprune.reconstruction.part import part
from edgeprune.reconstruction.store import Store
from edgeprune.reconstruction.window import Batch, Pick, Window, read_by, window

SILENT = 1e-6
"""Of a BatchNorm's largest factor: what a channel is multiplied with where nothing of it is left."""


def whole(_: str, value: Tensor) -> Tensor:
    """Of the teacher's values, all."""
    return value


@dataclass(frozen=True)
class Walking:
    """How a walk goes.

    `own_target`: wanted are the dense network's own values, instead of what the dense layers make of the pruned
    network's inputs (the paper's code). `batch_size`: images at a time. `memory_mb`: megabytes (1e6 bytes) of
    activations that are kept in memory; what is more lies on disk.
    """

    own_target: bool = True
    batch_size: int = 256
    memory_mb: float = 4000.0

    def holding_back(self, images: int) -> Walking:
        """The same in two batches at least, so that one can be held back of so many images."""
        return replace(self, batch_size=max(1, min(self.batch_size, -(-images // 2))))


class Cascade:
    """A student and its teacher, both with BatchNorm folded, and the images' way through them.

    Args:
        student: the network to be rebuilt, in eval mode; only `write_back` changes it.
        teacher: the dense network. It may be another graph whose nodes have the student's names (`pick`).
        x: calibration images `[n, ...]`.
        walking: how.
        pick: what of the teacher's values the student has.
    """

    def __init__(
        self, student: Traced, teacher: Traced, x: Tensor, walking: Walking | None = None, pick: Pick = whole
    ) -> None:
        walking = walking or Walking()
        self._student, self.pick = student, pick
        self.device = device_of(student)
        self.folded, self._folds = fold_with_record(student)
        self.dense, _ = fold_with_record(teacher)
        for twin in (self.folded, self.dense):
            for parameter in twin.module.parameters():
                parameter.requires_grad_(False)
        self._store = Store(walking.memory_mb)
        batches = x.tensor_split(max(1, -(-len(x) // walking.batch_size)))
        self.front = Front("student", self.folded.module, batches, self._store, self.device)
        self.other = self.front
        if walking.own_target:
            self.other = Front("teacher", self.dense.module, batches, self._store, self.device)
        self._shapes = node_shapes(self.folded)

    def places(self, weights: Sequence[str]) -> Iterator[Place]:
        """Stop at each of the named weights, in the order of the graph; the caller sets it before going on."""
        wanted, seen = set(weights), set[str]()
        for node in list(self.folded.module.graph.nodes):
            for name in read_by(node):
                if name not in wanted or name in seen:
                    continue
                seen.add(name)
                for front in {self.front, self.other}:
                    front.advance(front.node(node.name))
                simple = simple_layers(self.folded, self._shapes, [name])
                yield Place(self, node, name, simple[0] if simple else None)

    def set(self, name: str, value: Tensor) -> None:
        """Give the folded student a tensor."""
        attribute(self.folded.module, name).copy_(value)

    def close(self) -> None:
        self._store.close()

    def write_back(self, names: Sequence[str], masks: Mapping[str, Tensor], centred: bool = False) -> None:
        """Give the student what the folded one has under these names, weights and biases, BatchNorm divided out again.

        An output channel that its BatchNorm multiplies with next to nothing keeps the weights it has, under the layer's
        mask: what it puts out is the BatchNorm's shift, whatever they are. `centred`: what a bias moved by goes into
        its BatchNorm's running mean instead, which a training, or a re-estimation, then finds by itself.
        """
        own = dict(self._student.module.named_parameters())
        by_bias = {fold.bias: fold for fold in self._folds.values()}
        for name in names:
            value = attribute(self.folded.module, name)
            if name in by_bias:
                fold = by_bias[name]
                assert fold.shift is not None
                shift = value.double() - (fold.centre * fold.factor).to(value.device)
                if centred:
                    factor, before = fold.factor.to(value.device), own[fold.shift].data.double()
                    moved = torch.where(_silent(factor), 0.0, (shift - before) / factor)
                    self._student.module.get_buffer(fold.mean).sub_(moved.detach().to(value))
                    shift = torch.where(_silent(factor), shift, before)
                own[fold.shift].data.copy_(shift)
            elif name in self._folds:
                factor = self._folds[name].factor.to(value.device).view(-1, *[1] * (value.dim() - 1))
                kept = own[name].data.double() * masks[name].to(value.device)
                own[name].data.copy_(torch.where(_silent(factor), kept, value.double() / factor))
            else:
                own[name].data.copy_(value)

    def moves(self, weight: str, bias: str) -> bool:
        """Whether a layer's bias, or the shift of the BatchNorm folded into it, is a parameter that can move."""
        if weight in self._folds:
            return self._folds[weight].shift is not None
        return bias in dict(self._student.module.named_parameters())


def _silent(factor: Tensor) -> Tensor:
    return factor.abs() <= SILENT * factor.abs().max()


@dataclass(frozen=True)
class Place:
    """A layer at hand. `simple`: how it reads, where formulas know it."""

    cascade: Cascade
    node: fx.Node
    weight: str
    simple: SimpleLayer | None

    @property
    def value(self) -> Tensor:
        """The weight as it is."""
        return attribute(self.cascade.folded.module, self.weight)

    @property
    def bias(self) -> str | None:
        """The name of the layer's own bias."""
        found = arguments(self.node).get("bias")
        return str(found.target) if isinstance(found, fx.Node) and found.op == "get_attr" else None

    @property
    def moving_bias(self) -> str | None:
        """Its name, where it is a parameter that can move."""
        return self.bias if self.bias is not None and self.cascade.moves(self.weight, self.bias) else None

    @property
    def fitted(self) -> range:
        """The batches to fit to: all but the last, which is held back where there are more."""
        return range(max(1, self.cascade.front.batches - 1))

    @property
    def held_back(self) -> int:
        return self.cascade.front.batches - 1

    def inputs(self, number: int) -> Tensor:
        """What the layer reads of a batch, in the student."""
        found: Tensor = self.cascade.front.read(number)[arguments(self.node)["input"].name]
        return found

    def outputs(self) -> Callable[[int], Tensor]:
        """From a batch's number to what the layer should put out."""
        node = self.cascade.other.node(self.node.name)
        alone = part(self.cascade.dense.module, [node], [node])

        def read(number: int) -> Tensor:
            values = self.cascade.other.read(number)
            with torch.no_grad():
                (found,) = alone((), [values[name] for name in alone.inputs])
            return self.cascade.pick(node.name, found)

        return read

    def window(self, names: Sequence[str], steps: int | None) -> Window:
        """The operations ahead of the layer; `names`: of the tensors that move."""
        at = self.cascade
        return window(at.folded.module, at.dense.module, at.front, at.other, names, steps)

    def batch(self, ahead: Window, number: int) -> Batch:
        """The loss on one batch."""
        at = self.cascade
        return Batch(ahead, at.front.read(number), ahead.wanted(at.other.read(number), at.pick))
