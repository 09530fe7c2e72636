"""One cycle of CAMP-HiVe on single weights: curvature, significance, masks, merging.

Uddin et al. 2025, arXiv 2511.06265, as far as the paper's opening and its released code say; with `H ~ V L V' + D` on
the live weights (`curvature.low_rank`) the significance of weight i is what its removal alone costs,

    q_i = w_i^2 / 2 (sum_k L_k v_ki^2 + d_i).

Weights above the cycle's quantile are critical: they stay, and take from those that go, on the second moments of what
each layer reads (`merging.layers`) or on the loss's own curvature (`merging.pairs`). A merge is kept only if the loss
on the calibration images is no worse for it: all of it, else half of it, else a quarter.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeprune.curvature.low_rank import LowRank, Remainder, low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.merging.flat import Flat
from edgeprune.merging.layers import merge_layers
from edgeprune.merging.pairs import Quadratic, constant, pairwise, round_robin, sweep
from edgeprune.merging.selection import select, select_by_tensor
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.reconstruction.cascade import Walking
from edgeprune.spec.methods import MergeName, MergeOn, Significance

SHARES = (1.0, 0.5, 0.25)
"""Of a merge, in the order in which they are tried."""


@dataclass(frozen=True)
class Merging:
    """`on`: the second-order model of a merge. `eigenpairs`: at most. `sweeps`: of merges on the loss's curvature.

    `trust`: most that a kept weight moves, in root mean squares of its layer's weights (but in joint merges on layers).
    `guard`: share of the weights that stay for their curvature. `by_tensor`: every tensor loses the same share.
    `by_batch`: the curvature with BatchNorm's statistics following the weights. `least`: share of every layer that
    stays.
    """

    score: Significance = "magnitude"
    merge: MergeName = "joint"
    on: MergeOn = "layers"
    eigenpairs: int = 10
    sweeps: int = 3
    trust: float = 0.5
    guard: float = 0.01
    by_tensor: bool = False
    by_batch: bool = True
    least: float = 0.05
    probing: Probing = field(default_factory=lambda: Probing(batch_size=256))
    walking: Walking = field(default_factory=Walking)

    @property
    def curves(self) -> bool:
        """Whether the loss's curvature is needed."""
        return self.score != "magnitude" or (self.on == "loss" and self.merge in ("pair", "joint"))

    @property
    def follows(self) -> bool:
        """Whether BatchNorm is re-estimated: a joint merge on layers has fitted them to the statistics as they are."""
        return not (self.on == "layers" and self.merge == "joint")


@dataclass(frozen=True)
class CycleLog:
    """What a cycle did; losses are means over the calibration images.

    `predicted`: change of the loss by its second-order model without and with the merge, where that was made on it.
    `taken`: share of the merge.
    """

    sparsity: float
    eigenvalues: tuple[float, ...]
    products: int
    residual: float
    predicted: tuple[float, float] | None
    loss_before: float
    loss_cut: float
    loss_merged: float
    taken: float
    seconds: float


def curve(
    traced: Traced,
    masks: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    asked: Merging,
    start: Tensor | None = None,
    tick: Tick = silent,
) -> LowRank:
    """The loss's curvature by the weights that stayed so far.

    Args:
        traced: the network, in eval mode.
        masks: weight name -> bool, True where it stayed.
        x: calibration images `[m, ...]`.
        y: labels `[m]`.
        asked: how.
        start: eigenvectors of the cycle before.
        tick: told of what goes on.

    Raises:
        EdgepruneError: no direction of positive curvature was found.
    """
    remainder: Remainder = "fisher" if asked.score == "lowrank+fisher" else "mean"
    live = torch.cat([mask.flatten() for mask in masks.values()])
    found = low_rank(
        traced, [*masks], live, x, y, asked.eigenpairs, asked.probing, remainder, start, asked.by_batch, tick
    )
    if not len(found.values):
        raise EdgepruneError(
            "the loss has no direction of positive curvature on these images. Is the network trained, and are the "
            "labels right?"
        )
    return found


def one_cycle(
    traced: Traced,
    teacher: Traced,
    masks: Mapping[str, Tensor],
    sparsity: float,
    x: Tensor,
    y: Tensor,
    asked: Merging,
    curved: LowRank | None = None,
    tick: Tick = silent,
) -> tuple[dict[str, Tensor], CycleLog]:
    """Prune a network to a sparsity, in place.

    Args:
        traced: the network, in eval mode.
        teacher: what layers' outputs are held against; the same graph, as before any cycle or as last trained.
        masks: weight name -> bool, True where it stayed so far; the weights that may go, in order.
        sparsity: share of them that is zero afterwards.
        x: calibration images `[m, ...]`.
        y: labels `[m]`.
        asked: how.
        curved: what `curve` found, where `asked.curves`.
        tick: told of what goes on.

    Returns:
        the masks, and what happened.

    Raises:
        EdgepruneError: a weight is not finite, or so many cannot go.
    """
    begin = time.perf_counter()
    network = Flat(traced, masks, x, y, asked.follows)
    w, live = network.read(), torch.cat([mask.flatten() for mask in masks.values()])
    if not bool(w.isfinite().all()):
        raise EdgepruneError("the network holds weights that are not finite. Check the checkpoint.")
    before = copy.deepcopy(traced.module)
    loss_before = network.loss()
    q = _significance(asked, w, curved)
    kept = _selected(q, w, live, network.shapes, sparsity, asked, curved)
    cut = w * kept
    network.write(cut)
    lost = best = network.loss()
    share, predicted = 0.0, None
    if asked.merge != "none" and bool((live & ~kept).any()):
        if asked.on == "layers":
            twin = Traced(before, traced.input_shape)
            merge_layers(twin, teacher, network.split(kept), x, asked.merge, asked.trust, asked.walking, tick)
            aim = Flat(twin, masks, x, y).read()
        else:
            aim, predicted = _on_loss(asked, curved, w, live, kept, q, network)
        for tried in SHARES:
            network.write(torch.where(kept, cut + tried * (aim - cut), cut))
            found = network.loss()
            if found <= lost:
                share, best = tried, found
                break
        else:
            network.write(cut)
            network.loss()
    log = CycleLog(
        1 - int(kept.sum()) / len(kept),
        tuple(curved.values.tolist()) if curved is not None else (),
        curved.products if curved is not None else 0,
        curved.residual if curved is not None else 0.0,
        predicted,
        loss_before,
        lost,
        best,
        share,
        round(time.perf_counter() - begin, 3),
    )
    return network.split(kept), log


def _significance(asked: Merging, w: Tensor, curved: LowRank | None) -> Tensor:
    """float64 `[n]`."""
    if asked.score == "magnitude":
        return w.double().abs()
    assert curved is not None, "asked.curves"
    if asked.score == "eigvec":
        return curved.vectors[:, 0].double().abs()
    rest = curved.rest if asked.score == "lowrank+fisher" else 0.0
    return w.double().square() * (curved.diagonal() + rest).double() / 2


def _selected(
    q: Tensor,
    w: Tensor,
    live: Tensor,
    shapes: list[torch.Size],
    sparsity: float,
    asked: Merging,
    curved: LowRank | None,
) -> Tensor:
    if asked.by_tensor:
        return select_by_tensor(q, w, live, shapes, sparsity)
    guarded = None
    if curved is not None and asked.score not in ("eigvec", "magnitude"):
        curvature = (curved.diagonal() + curved.rest) * live
        most = curvature.topk(math.floor(asked.guard * len(w))).indices
        guarded = torch.zeros_like(live)
        guarded[most] = True
        guarded &= live
    return select(q, w, live, shapes, len(w) - round(sparsity * len(w)), asked.least, guarded)


def _on_loss(
    asked: Merging, curved: LowRank | None, w: Tensor, live: Tensor, kept: Tensor, q: Tensor, network: Flat
) -> tuple[Tensor, tuple[float, float]]:
    """All weights after a merge on the loss's curvature, within the trust region, and what the model says of it."""
    if curved is None:  # the constant merge asks for no curvature
        curved = LowRank(torch.ones(1), torch.zeros(len(w), 1), torch.zeros(len(w)), ())
    gone, staying = (live & ~kept).nonzero().flatten(), kept.nonzero().flatten()
    model = Quadratic.of(curved, w, gone, staying)
    order = q[staying].argsort(descending=True, stable=True)
    bound = asked.trust * network.spread(w)[staying].double()
    if asked.merge == "joint":
        delta = sweep(model, order, bound, asked.sweeps)
    else:
        partner = round_robin([shape.numel() for shape in network.shapes], gone, staying, order)
        delta = constant(model, partner) if asked.merge == "constant" else pairwise(model, partner)
        delta = delta.clamp(-bound, bound)
    aim = (w * kept).index_add(0, staying, delta.to(w))
    return aim, (model.loss(torch.zeros_like(delta)), model.loss(delta))
