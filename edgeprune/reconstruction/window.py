"""What SNOWS minimises for one layer: the K-step loss, `sum_k mean (student's k-th operation - teacher's)^2`.

The operations ahead of the layer (`ahead`) and all that they need of what comes after the layer's place form a part of
the student's graph, whose arguments are the layer's weight (and bias) and the values that have been computed before
it. The teacher's part gives the wanted values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.curvature.convolution import make_twice_differentiable
from edgeprune.curvature.hvp import pull
from edgeprune.model.operators import name_of
from edgeprune.reconstruction.ahead import operations_ahead
from edgeprune.reconstruction.front import Front
from edgeprune.reconstruction.part import Part, needed, part

Pick = Callable[[str, Tensor], Tensor]
"""From a node's name and the teacher's value there to what of it the student has."""


@dataclass(frozen=True)
class Window:
    """A layer and what is ahead of it. `matched`: names of the operations, the layer first; `axis`: of its outputs.

    `student(tensors, values)` takes the layer's own weight and bias as its given arguments; `teacher((), values)`.
    """

    matched: tuple[str, ...]
    student: Part
    teacher: Part
    axis: int

    def wanted(self, values: dict[str, Any], pick: Pick) -> list[Tensor]:
        """The teacher's values, as the student has them."""
        with torch.no_grad():
            found = self.teacher((), [values[name] for name in self.teacher.inputs])
        return [pick(name, value) for name, value in zip(self.matched, found, strict=True)]


def window(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    front: Front,
    other: Front,
    names: Sequence[str],
    steps: int | None,
) -> Window:
    """Look ahead from the layer before which both fronts stand.

    Args:
        student: the network that is pruned.
        teacher: the dense one; where it is another graph, its nodes have the student's names.
        front: the student's.
        other: the teacher's.
        names: the layer's weight, and its bias where that moves too.
        steps: K; None: to the end of the network.
    """
    readers = [node for node in student.graph.nodes if names[0] in read_by(node)]
    ahead = operations_ahead(student.graph, readers, steps)
    there = {node.name: node for node in other.after()}
    nodes = [node for node in ahead if node.name in there]
    own = part(student, needed(nodes, front.after()), nodes, names)
    make_twice_differentiable(own.module)
    targets = [there[node.name] for node in nodes]
    return Window(
        tuple(node.name for node in nodes),
        own,
        part(teacher, needed(targets, other.after()), targets),
        1 if name_of(readers[0]).startswith("conv") else -1,
    )


def read_by(node: fx.Node) -> list[str]:
    """The parameters and buffers that a node reads."""
    return [str(source.target) for source in node.all_input_nodes if source.op == "get_attr"]


class Batch:
    """The K-step loss on one batch, as a function of the layer's tensors."""

    def __init__(self, ahead: Window, values: dict[str, Any], wanted: Sequence[Tensor]) -> None:
        self._part, self._wanted, self._axis = ahead.student, list(wanted), ahead.axis
        self._values = [values[name] for name in ahead.student.inputs]

    def loss(self, tensors: Sequence[Tensor]) -> float:
        with torch.no_grad():
            return float(self._squares(self._run(tensors)))

    def at(self, tensors: Sequence[Tensor], kind: str) -> Point:
        """The loss around some tensors, with gradient and products; `kind`: `ggn` or `hessian`."""
        moving = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = self._run(moving)
            total = self._squares(outputs)
            loss = float(total.detach())

            def weights() -> Tensor:
                return self._output_weights(outputs)

            if kind == "hessian":
                slopes = torch.autograd.grad(total, moving, create_graph=True, materialize_grads=True)
                return Point(loss, [s.detach() for s in slopes], lambda v: pull(slopes, moving, v), weights)
            seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs]
            pulled = torch.autograd.grad(outputs, moving, grad_outputs=seeds, create_graph=True, materialize_grads=True)
        errors = [2 / y.numel() * (y.detach() - t) for y, t in zip(outputs, self._wanted, strict=True)]

        def product(vectors: Sequence[Tensor]) -> list[Tensor]:
            moved = pull(pulled, seeds, vectors)
            return pull(outputs, moving, [2 / m.numel() * m for m in moved])

        return Point(loss, pull(outputs, moving, errors), product, weights)

    def _output_weights(self, outputs: Sequence[Tensor]) -> Tensor:
        """`[out]`: see `precondition`. The signs are the same at every call."""
        generator = torch.Generator().manual_seed(0)
        signs = [torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1 for y in outputs]
        scaled = [(2 / y.numel()) ** 0.5 * s for y, s in zip(outputs, signs, strict=True)]
        (slope,) = pull(outputs, [outputs[0]], scaled)
        return slope.square().movedim(self._axis, 0).flatten(1).sum(1)

    def _run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [*self._part(tensors, self._values)]

    def _squares(self, outputs: Sequence[Tensor]) -> Tensor:
        """`[]`, the sum over operations of the mean over all elements."""
        losses = [(y - t).square().mean() for y, t in zip(outputs, self._wanted, strict=True)]
        return torch.stack(losses).sum()


@dataclass(frozen=True)
class Point:
    """A loss, its gradient, and products with its Hessian or Gauss-Newton matrix, in the shapes of the tensors.

    `output_weights()`: how much the loss is curved in each output channel of the layer, `[out]` (`precondition`).
    """

    loss: float
    gradient: list[Tensor]
    product: Callable[[Sequence[Tensor]], list[Tensor]]
    output_weights: Callable[[], Tensor] | None = None
