"""What a group's cuts cost, measured: how far the outputs move when its lowest scored units are held at zero.

Scores rank the units of one group. They say less about how many should go from each of two groups: sums of scores
know nothing of how cuts within a layer add up, and a whole layer's scale is in them. So each group is cut alone to a
few widths, and the Kullback-Leibler divergence of the class probabilities from the dense network's is read off
calibration images; the budget is solved on those curves (a sensitivity analysis, as Li et al. 2017, arXiv 1608.08710,
section 3.2, made by accuracy). No labels. On a ResNet-20 with half of the multiply-adds, before any training, it left
54 % of the images right, where sums of HAP's scores left 18 % and sums of magnitudes 21 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx

from edgeprune.compact.check import Masked
from edgeprune.compact.keeps import Keeps
from edgeprune.model.count import macs
from edgeprune.model.device import device_of
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.pruning.levels import Limits, ladder
from edgeprune.pruning.score import Curve, Scores

POINTS = 8
"""Widths of a group that are measured; what lies between is interpolated."""
FEWEST, MOST, WORK = 64, 256, 2e13
"""Images at least and at most, and the multiply-adds beyond which there are fewer than the most."""
AT_ONCE = 2**27
"""Elements of activations that are held at a time."""
NARROW = 2.0
"""Power of a group's narrowing by which its cost rises where training follows (`before_training`)."""
FAR = 1e6
"""Where a cut makes an output that is no number."""


def sensitivities(
    traced: Traced,
    found: Provenance,
    groups: list[Group],
    scores: Scores,
    limits: Limits,
    x: Tensor,
    tick: Tick = silent,
) -> dict[str, Curve]:
    """Group name -> what its cuts cost.

    Args:
        traced: the network.
        found: its provenance.
        groups: those that may be cut.
        scores: which units go first.
        limits: the widths that may be.
        x: calibration images `[n, ...]`, of which as many are looked at as are worth their time (`images_for`).
        tick: told of the widths.
    """
    points = {group.name: _points(ladder(group, limits).tolist()) for group in groups}
    each = sum(math.prod(shape) for shape in node_shapes(traced).values())
    x = x[: images_for(traced, groups, limits)].to(device_of(traced))
    parts = x.split(max(1, AT_ONCE // each))
    lost = {name: np.zeros(len(kept)) for name, kept in points.items()}
    done, total = 0, len(parts) * sum(len(kept) for kept in points.values())
    for part in parts:
        dense = _Recorded(traced.module)
        with torch.no_grad():
            wanted = dense.run(part)
        for group in groups:
            cuts = [_lowest(found, group, scores, kept) for kept in points[group.name]]
            # What the deepest cut leaves as it is, the others do too.
            untouched = _untouched(traced.module, found, cuts[-1], dense.values) if cuts else {}
            for place, units in enumerate(cuts):
                runner = Masked(traced.module, found, units, record=False)
                with torch.no_grad():
                    got = runner.run(part, initial_env=dict(untouched))
                lost[group.name][place] += _distance(got, wanted) / len(x)
                done += 1
                tick("measuring cuts", done, total)
    return {group.name: _curve(len(group.units), points[group.name], lost[group.name]) for group in groups}


def before_training(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The curves to solve on where training follows: what it wins back is the less, the narrower a group gets.

    The costs at n of N units are multiplied by `(N / n)^2`, which spreads the cuts. On a ResNet-20 with half of the
    multiply-adds in multiples of 8, cut by HAP and trained for 3 epochs, powers of 0, 1 and 2 left 85.7, 85.9 and
    86.1 % (one seed each).
    """
    return {
        name: replace(
            curve,
            lost=tuple(
                lost * (curve.kept[-1] / max(n, 1)) ** NARROW for n, lost in zip(curve.kept, curve.lost, strict=True)
            ),
        )
        for name, curve in curves.items()
    }


def images_for(traced: Traced, groups: list[Group], limits: Limits) -> int:
    """How many images to measure on."""
    widths = sum(len(_points(ladder(group, limits).tolist())) for group in groups)
    return int(min(MOST, max(FEWEST, WORK / max(1, widths * macs(traced)))))


def _points(kept: list[int]) -> list[int]:
    """Of the widths, descending from the whole one: at most so many, evenly over the rest of them."""
    places = np.linspace(1, len(kept) - 1, min(POINTS, len(kept) - 1)).round().astype(int)
    return [kept[place] for place in dict.fromkeys(places.tolist())]


def _lowest(found: Provenance, group: Group, scores: Scores, kept: int) -> frozenset[int]:
    order = scores.value[group.name].argsort(stable=True).tolist()
    return found.closed(frozenset(group.units[i] for i in order[: len(order) - kept]))


def _untouched(
    module: fx.GraphModule, found: Provenance, units: frozenset[int], values: Mapping[fx.Node, Tensor]
) -> dict[fx.Node, Tensor]:
    """The values that a cut does not change."""
    keeps, touched = Keeps(found, units), set[fx.Node]()
    for node in module.graph.nodes:
        cut = node.op != "get_attr" and keeps.of(node) is not None
        if cut or not touched.isdisjoint(node.all_input_nodes) or node.op == "output":
            touched.add(node)
    return {node: value for node, value in values.items() if node not in touched}


class _Recorded(fx.Interpreter):
    """Runs a graph, and keeps all values."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    @property
    def values(self) -> Mapping[fx.Node, Tensor]:
        return self.env


def _distance(got: Tensor, wanted: Tensor) -> float:
    """The divergence of the class probabilities, summed over the images; of one output, the squared difference."""
    if wanted.shape[1] == 1:
        found = (got - wanted).double().square().sum()
    else:
        dense, thin = wanted.double().log_softmax(1), got.double().log_softmax(1)
        found = (dense.exp() * (dense - thin)).sum()
    value = float(found)
    return value if math.isfinite(value) else FAR * len(wanted)


def _curve(units: int, kept: list[int], lost: np.ndarray) -> Curve:
    """Ascending in the units kept; a deeper cut is not said to cost less."""
    costs = np.maximum.accumulate(np.maximum(lost, 0.0)).tolist()
    return Curve((*kept[::-1], units), (*costs[::-1], 0.0))
