"""One cycle of CAMP-HiVe on single weights: curvature, significance, masks, merging.

Uddin et al. 2025, arXiv 2511.06265, as far as the paper's opening and its released code say; with `H ~ V L V' + D` on
the live weights (`curvature.low_rank`) the significance of weight i is what its removal alone costs,

    q_i = w_i^2 / 2 (sum_k L_k v_ki^2 + d_i).

Weights above the cycle's quantile are critical: they stay, and take from those that go (`merging.pairs`). A merge is
kept only if the loss on the calibration images is no worse for it: all of it, else half of it, else a quarter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.curvature.low_rank import LowRank, Remainder, low_rank
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.merging.pairs import Quadratic, constant, pairwise, round_robin, sweep
from edgeprune.merging.selection import select, select_by_tensor
from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.spec.methods import MergeName, Significance
from edgeprune.train.batch_norm import reestimate

SHARES = (1.0, 0.5, 0.25)
"""Of a merge, in the order in which they are tried."""


@dataclass(frozen=True)
class Merging:
    """`eigenpairs`: at most. `trust`: most that a kept weight moves, in root mean squares of its layer's weights.

    `guard`: share of the weights that stay for their curvature. `by_tensor`: every tensor loses the same share.
    `slope`: count the loss's gradient in. `by_batch`: the curvature with BatchNorm's statistics following the weights.
    `least`: share of every layer that stays.
    """

    score: Significance = "lowrank+fisher"
    merge: MergeName = "joint"
    eigenpairs: int = 10
    sweeps: int = 3
    trust: float = 0.5
    guard: float = 0.01
    by_tensor: bool = False
    slope: bool = False
    by_batch: bool = True
    least: float = 0.05
    probing: Probing = field(default_factory=lambda: Probing(batch_size=256))


@dataclass(frozen=True)
class CycleLog:
    """What a cycle did; losses are means over the calibration images, BatchNorm re-estimated on them.

    `predicted`: change of the loss by the second-order model without and with the merge. `taken`: share of the merge.
    """

    sparsity: float
    eigenvalues: tuple[float, ...]
    products: int
    residual: float
    predicted: tuple[float, float]
    loss_before: float
    loss_cut: float
    loss_merged: float
    taken: float
    seconds: float


def one_cycle(
    traced: Traced,
    masks: Mapping[str, Tensor],
    sparsity: float,
    x: Tensor,
    y: Tensor,
    asked: Merging,
    start: Tensor | None = None,
    tick: Tick = silent,
) -> tuple[dict[str, Tensor], Tensor | None, CycleLog]:
    """Prune a network to a sparsity, in place; BatchNorm is left re-estimated on the calibration images.

    Args:
        traced: the network, in eval mode.
        masks: weight name -> bool, True where it stayed so far; the weights that may go, in order.
        sparsity: share of them that is zero afterwards.
        x: calibration images `[m, ...]`.
        y: labels `[m]`.
        asked: how.
        start: eigenvectors of the cycle before.
        tick: told of what goes on.

    Returns:
        the masks, the eigenvectors, and what happened.
    """
    begin = time.perf_counter()
    network = _Flat(traced, masks, x, y)
    w, live = network.read(), torch.cat([mask.flatten() for mask in masks.values()])
    if not bool(w.isfinite().all()):
        raise EdgepruneError("the network holds weights that are not finite. Check the checkpoint.")
    curved = None
    if asked.score != "magnitude" or asked.merge in ("pair", "joint"):
        curved = _curved(traced, [*masks], live, x, y, asked, start, tick)
    before = network.loss()
    q = _significance(asked, w, curved)
    kept = _selected(q, w, live, network.shapes, sparsity, asked, curved)
    gone, staying = (live & ~kept).nonzero().flatten(), kept.nonzero().flatten()
    cut = w * kept
    network.write(cut)
    lost = best = network.loss()
    share, predicted = 0.0, (math.nan, math.nan)
    if asked.merge != "none" and len(gone):
        delta, predicted = _delta(asked, curved, w, gone, staying, q, network)
        for tried in SHARES:
            network.write(cut.index_add(0, staying, tried * delta.to(cut)))
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
        before,
        lost,
        best,
        share,
        round(time.perf_counter() - begin, 3),
    )
    return network.split(kept), curved.vectors if curved is not None else None, log


def _curved(
    traced: Traced,
    names: list[str],
    live: Tensor,
    x: Tensor,
    y: Tensor,
    asked: Merging,
    start: Tensor | None,
    tick: Tick,
) -> LowRank:
    remainder: Remainder = "fisher" if asked.score == "lowrank+fisher" else "mean"
    found = low_rank(traced, names, live, x, y, asked.eigenpairs, asked.probing, remainder, start, asked.by_batch, tick)
    if not asked.slope:
        found = replace(found, slope=torch.zeros_like(found.slope))
    if not len(found.values):
        raise EdgepruneError(
            "the loss has no direction of positive curvature on these images. Is the network trained, and are the "
            "labels right?"
        )
    return found


def _significance(asked: Merging, w: Tensor, curved: LowRank | None) -> Tensor:
    """float64 `[n]`."""
    if asked.score == "magnitude" or curved is None:
        return w.double().abs()
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
    if curved is not None and asked.score != "eigvec":
        curvature = (curved.diagonal() + curved.rest) * live
        most = curvature.topk(math.floor(asked.guard * len(w))).indices
        guarded = torch.zeros_like(live)
        guarded[most] = True
        guarded &= live
    return select(q, w, live, shapes, len(w) - round(sparsity * len(w)), asked.least, guarded)


def _delta(
    asked: Merging, curved: LowRank | None, w: Tensor, gone: Tensor, kept: Tensor, q: Tensor, network: _Flat
) -> tuple[Tensor, tuple[float, float]]:
    """What each kept weight takes, within the trust region, and what the model says of the loss without and with it."""
    if curved is None:  # the constant merge asks for no curvature
        n = len(w)
        curved = LowRank(torch.ones(1), torch.zeros(n, 1), torch.zeros(n), torch.zeros(n), 0, 0.0)
    model = Quadratic.of(curved, w, gone, kept)
    order = q[kept].argsort(descending=True, stable=True)
    bound = asked.trust * network.spread(w)[kept].double()
    if asked.merge == "joint":
        delta = sweep(model, order, bound, asked.sweeps)
    else:
        partner = round_robin([shape.numel() for shape in network.shapes], gone, kept, order)
        delta = constant(model, partner) if asked.merge == "constant" else pairwise(model, partner)
        delta = delta.clamp(-bound, bound)
    return delta, (model.loss(torch.zeros_like(delta)), model.loss(delta))


class _Flat:
    """A network's maskable weights as one flat vector on the CPU, and its loss."""

    def __init__(self, traced: Traced, masks: Mapping[str, Tensor], x: Tensor, y: Tensor) -> None:
        self._traced, self._names = traced, [*masks]
        self._parameters = [traced.module.get_parameter(name) for name in masks]
        self.shapes = [parameter.shape for parameter in self._parameters]
        self._x, self._y, self._device = x, y, device_of(traced)

    def read(self) -> Tensor:
        return torch.cat([parameter.detach().cpu().flatten() for parameter in self._parameters])

    def write(self, flat: Tensor) -> None:
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self._pieces(flat), strict=True):
                parameter.copy_(part)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        return {name: part.clone() for name, part in zip(self._names, self._pieces(flat), strict=True)}

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def spread(self, flat: Tensor) -> Tensor:
        """The root mean square of each weight's tensor, `[n]`, over the weights that are not zero."""
        parts = self._pieces(flat)
        sizes = [part[part != 0].square().mean().sqrt() if bool(part.any()) else part.new_zeros(()) for part in parts]
        return torch.cat([size.expand(part.numel()) for size, part in zip(sizes, parts, strict=True)])

    def loss(self) -> float:
        """The mean cross-entropy with the true labels, BatchNorm re-estimated first."""
        parts = self._x.tensor_split(max(1, round(len(self._x) / 128)))
        reestimate(self._traced, parts)
        labels = self._y.tensor_split(len(parts))
        total = 0.0
        with torch.no_grad():
            for part, truth in zip(parts, labels, strict=True):
                logits = self._traced.module(part.to(self._device))
                total += float(functional.cross_entropy(logits, truth.to(self._device), reduction="sum"))
        value = total / len(self._x)
        return value if math.isfinite(value) else math.inf
