"""The proof that a compacted network computes what the masked one does.

The masked reference runs the *original* graph and sets every element of a cut channel to zero after every node.
It shares nothing with the rewriting: no constant, no sliced parameter.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.compact.keeps import Keeps, kept_axis, picked
from edgeprune.errors import EdgepruneError
from edgeprune.model.operators import arguments
from edgeprune.model.provenance import Provenance

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


class Masked(fx.Interpreter):
    """Runs a graph with cut channels held at zero; keeps every node's value where asked."""

    def __init__(self, module: fx.GraphModule, found: Provenance, units: frozenset[int], record: bool) -> None:
        super().__init__(module, garbage_collect_values=not record)
        self._found, self._keeps = found, Keeps(found, units)

    def run_node(self, n: fx.Node) -> Any:
        kept = self._keeps.of(n) if n.op != "get_attr" else None
        if n.name in self._found.approximate:
            return self._over_kept(n, kept)
        value = super().run_node(n)
        if not isinstance(value, Tensor) or kept is None:
            return value
        axis, mask = kept
        view = [1] * value.dim()
        view[axis] = -1
        # Where heads lie on the batch axis, every image has them once.
        mask = mask.repeat(value.shape[axis] // mask.numel())
        # Not a product: what an operator makes of a zero (0/0, log 0) must not outlive the cut.
        return torch.where(mask.to(value.device).view(view), value, 0)

    def _over_kept(self, n: fx.Node, kept: tuple[int, Tensor] | None) -> Any:
        """A statistic over channels, taken over those that stay; zeros elsewhere."""
        with self._set_current_node(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
        given = dict(zip((argument.name for argument in n.target._schema.arguments), args, strict=False)) | kwargs  # type: ignore[union-attr]
        for name, source in arguments(n).items():
            if isinstance(source, fx.Node) and (cut_ := self._keeps.of(source)) is not None:
                given[name] = given[name].index_select(cut_[0], cut_[1].nonzero().flatten().to(given[name].device))
        if "normalized_shape" in given:
            given["normalized_shape"] = given["input"].shape[-len(given["normalized_shape"]) :]
        assert callable(n.target)
        value = n.target(**given)
        if kept is None:
            return value
        axis, mask = kept
        whole = value.new_zeros([*value.shape[:axis], mask.numel(), *value.shape[axis + 1 :]])
        return whole.index_copy(axis, mask.nonzero().flatten().to(value.device), value)


@dataclass(frozen=True)
class Proof:
    """The largest difference between compacted and masked outputs, relative to the largest output."""

    float32: float
    float64: float


def masked(module: fx.GraphModule, found: Provenance, units: frozenset[int], x: Tensor) -> Tensor:
    """Run the original graph with the cut channels held at zero."""
    with torch.no_grad():
        return Masked(module, found, units, record=False).run(x)  # type: ignore[no-any-return]


def prove(
    dense: fx.GraphModule,
    thin: fx.GraphModule,
    found: Provenance,
    units: frozenset[int],
    x: Tensor,
    unfolded: fx.GraphModule | None = None,
) -> Proof:
    """Show compacted(x) = masked(x) to 1e-4 relative in float32 and 1e-9 in float64.

    `unfolded`: the same network before constants were folded in float32, for the proof in float64.

    Raises:
        EdgepruneError: they differ; the text names the first node that does.
    """
    reached = {}
    for dtype, tolerance in TOLERANCE.items():
        wide = in_precision(dtype, dense)
        narrow = in_precision(dtype, thin if dtype == torch.float32 else unfolded or thin)
        expected = masked(wide, found, units, x.to(dtype))
        with torch.no_grad():
            reached[dtype] = relative(narrow(x.to(dtype)), expected)
        if not reached[dtype] <= tolerance:
            node = _first_difference(wide, narrow, found, units, x.to(dtype), tolerance)
            raise EdgepruneError(
                f"the compacted network differs from the masked one by {reached[dtype]:.1e} ({dtype}), first at node "
                f"{node}. Freeze that layer with --keep and report the network."
            )
    return Proof(reached[torch.float32], reached[torch.float64])


def in_precision(dtype: torch.dtype, module: fx.GraphModule) -> fx.GraphModule:
    """A copy that computes in another precision, where the graph names float32 too."""
    twin = copy.deepcopy(module).to(dtype)
    if dtype == torch.float32:
        return twin
    for node in twin.graph.nodes:
        node.args, node.kwargs = torch.utils._pytree.tree_map_only(
            torch.dtype, lambda named: dtype if named == torch.float32 else named, (node.args, dict(node.kwargs))
        )
    twin.recompile()
    return twin


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference of two results, relative to the largest value of the second."""
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(b.dtype).tiny))


def _first_difference(
    dense: fx.GraphModule, thin: fx.GraphModule, found: Provenance, units: frozenset[int], x: Tensor, tolerance: float
) -> str:
    reference = Masked(dense, found, units, record=True)
    compact = fx.Interpreter(thin, garbage_collect_values=False)
    with torch.no_grad():
        reference.run(x)
        compact.run(x)
    names = {node.name: value for node, value in compact.env.items()}
    for node, value in reference.env.items():
        labels, other = found.nodes.get(node.name), names.get(node.name)
        if labels is None or not isinstance(value, Tensor) or not isinstance(other, Tensor):
            continue
        value = picked(value, kept_axis(labels, found.shapes[node.name], units))
        if not relative(other, value) <= tolerance:
            return str(node.name)
    return "output"
