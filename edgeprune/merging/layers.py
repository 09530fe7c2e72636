"""Merging on what layers read: the weights that stay take from those that go so that each layer's output stays.

The Hessian of a layer's squared output error by the weights of one output is `A = E[u u']`, u `[K]` being what these
weights are multiplied with. One acceptor j takes from one donor i of its output `a_ij w_i / a_jj`; all of them together
what solves the normal equations, the limit of cyclic pair merging on A (`merging.pairs` has the same on the loss's own
curvature, of which ten eigenpairs hold little once a network is pruned far). Layers are merged in the order of the
graph, each on inputs from the network as merged so far, towards what the dense network puts out there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgeprune.merging.pairs import GIVEN, round_robin
from edgeprune.model.attributes import attribute
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.reconstruction.cascade import Cascade, Place, Walking
from edgeprune.reconstruction.least_squares import Summing
from edgeprune.reconstruction.snows import Snows, rebuild
from edgeprune.spec.methods import MergeName


def merge_layers(
    student: Traced,
    teacher: Traced,
    masks: Mapping[str, Tensor],
    x: Tensor,
    merge: MergeName,
    trust: float = 0.5,
    walking: Walking | None = None,
    tick: Tick = silent,
) -> None:
    """Set what does not stay to zero and give it to what stays, in place.

    Args:
        student: the network before the cut, in eval mode.
        teacher: what its layers' outputs are held against; the student's graph.
        masks: weight name -> bool, True where it stays.
        x: calibration images `[n, ...]`; `joint` holds a batch of them back, by which a layer is judged.
        merge: how.
        trust: most that a weight moves when it takes from single donors, in root mean squares of its layer's weights.
        walking: batches and memory.
        tick: told of the layers.
    """
    cascade = Cascade(student, teacher, x, (walking or Walking()).holding_back(len(x)))
    try:
        for number, place in enumerate(cascade.places([*masks])):
            tick("merging weights", number, len(masks))
            mask = masks[place.weight].to(cascade.device)
            if merge == "joint":
                found = rebuild(place, mask, Snows(steps=0))[0][place.weight]
            else:
                found = _by_pairs(place, mask, merge, trust)
            cascade.set(place.weight, found)
        tick("merging weights", len(masks), len(masks))
        cascade.write_back([*masks], masks)
    finally:
        cascade.close()


def _by_pairs(place: Place, mask: Tensor, merge: MergeName, trust: float) -> Tensor:
    """The layer's weight with every donor given to one acceptor of its output."""
    w = attribute(place.cascade.folded.module, place.weight).detach()
    if merge == "none" or place.simple is None:
        return w * mask
    rows, kept = w.double().flatten(1), mask.flatten(1)
    size = rows.shape[1]
    donors, acceptors = ((~kept & (rows != 0)).flatten().nonzero().flatten(), kept.flatten().nonzero().flatten())
    order = rows.flatten()[acceptors].abs().argsort(descending=True, stable=True)
    partner = round_robin([size] * len(rows), donors, acceptors, order)
    there = partner >= 0
    i, j = donors[there], acceptors[partner[there]]
    given = GIVEN * rows.flatten()[i]
    if merge == "pair":
        summing = Summing(place.simple, bias=False)
        for number in place.fitted:
            summing.add(place.inputs(number), None)
        moments = summing.moments().inputs
        group = (i // size) // (len(rows) // len(moments))
        between, own = moments[group, i % size, j % size], moments[group, j % size, j % size]
        given = between * rows.flatten()[i] / own.clamp_min(torch.finfo(torch.float64).tiny)
    moved = torch.zeros_like(rows).flatten().index_add_(0, j, given)
    bound = trust * rows[kept].square().mean().sqrt() if bool(kept.any()) else rows.new_zeros(())
    merged: Tensor = (rows * kept + moved.clamp(-bound, bound).view_as(rows)).to(w).view_as(w)
    return merged
