"""Merging weights that go into weights that stay, pair by pair, so that the loss notices it least.

CAMP-HiVe (arXiv 2511.06265) gives half of a less significant weight to a more significant one. What a merge should
give follows from the loss's second-order model. With `H = V L V' + D` (L, D diagonal), the weights P set to zero and
the kept ones K moved by delta, the loss changes by

    1/2 r' L r + 1/2 delta' D_K delta + 1/2 w_P' D_P w_P,    r = V_P' w_P - V_K' delta,

r being the displacement along the eigenvectors that is not made up for yet. (The gradient, which is not zero in a
network that was cut, is left out: along directions of little curvature it predicts steps for which no quadratic model
holds.) One acceptor j alone takes `step = (v_j' L r - d_j delta_j) / (d_j + v_j' L v_j)`; visiting them in turn, r
going along, is coordinate descent on a convex quadratic. Its limit is the Woodbury form of Optimal Brain Surgeon's
compensation (Hassibi and Stork 1993), `delta = D^-1 V (L^-1 + V' D^-1 V)^-1 V_P' w_P`.
Acceptors are visited in blocks that are solved together, which the same form does in `[k, k]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.curvature.low_rank import LowRank

BLOCK = 4096
"""Acceptors that are solved together."""
GIVEN = 0.5
"""Of a weight, to its partner: the released code's constant."""


@dataclass(frozen=True)
class Quadratic:
    """The model above, float64: `v` `[n, k]`, `values` `[k]`; `rest` and `w` `[n]`; `gone`, `kept` indices."""

    v: Tensor
    values: Tensor
    rest: Tensor
    w: Tensor
    gone: Tensor
    kept: Tensor

    @staticmethod
    def of(curved: LowRank, w: Tensor, gone: Tensor, kept: Tensor) -> Quadratic:
        """`w` `[n]`; `gone` and `kept`: indices of the weights that go, and of those that may take from them."""
        return Quadratic(
            curved.vectors.double(),
            curved.values.double(),
            curved.rest.double(),
            w.double(),
            gone,
            kept,
        )

    def left(self, delta: Tensor) -> Tensor:
        """r, for `delta` `[kept]`."""
        return self.v[self.gone].T @ self.w[self.gone] - self.v[self.kept].T @ delta

    def loss(self, delta: Tensor) -> float:
        """The predicted change of the loss."""
        r = self.left(delta)
        fixed = (self.rest[self.gone] * self.w[self.gone].square()).sum()
        moved = (self.rest[self.kept] * delta.square()).sum()
        return float(((self.values * r.square()).sum() + moved + fixed) / 2)


def sweep(
    model: Quadratic, order: Tensor, bound: Tensor, sweeps: int = 3, block: int = BLOCK, delta: Tensor | None = None
) -> Tensor:
    """Coordinate descent over the kept weights, `[kept]`; no step raises the model's loss.

    Args:
        model: the loss.
        order: places in `model.kept`, in which acceptors are visited.
        bound: `[kept]`, the most that each may move.
        sweeps: over all of them.
        block: acceptors that are solved together; 1: pair by pair.
        delta: where to start from; zero if not given.
    """
    delta = torch.zeros(len(model.kept), dtype=torch.float64) if delta is None else delta.clone()
    r = model.left(delta)
    for _ in range(sweeps):
        for places in order.split(block):
            index = model.kept[places]
            v, d = model.v[index], model.rest[index]
            slope = v @ (model.values * r) - d * delta[places]
            aim = delta[places] + _solved(v, d, model.values, slope)
            step = aim.clamp(-bound[places], bound[places]) - delta[places]
            # Of a block of several the best point within the bounds need not lie where the best point is cut off.
            moved = v.T @ step
            curved = (model.values * moved.square()).sum() + (d * step.square()).sum()
            length = ((slope * step).sum() / curved.clamp_min(1e-300)).clamp(0, 1)
            delta[places] += length * step
            r -= length * moved
    return delta


def woodbury(model: Quadratic) -> Tensor:
    """The sweeps' limit without bounds, in closed form, `[kept]`."""
    v, d = model.v[model.kept], model.rest[model.kept]
    zero = torch.zeros(len(model.kept), dtype=torch.float64)
    return _solved(v, d, model.values, v @ (model.values * model.left(zero)))


def _solved(v: Tensor, d: Tensor, values: Tensor, slope: Tensor) -> Tensor:
    """`(diag(d) + v diag(values) v')^-1 slope`, by the matrix inversion lemma."""
    d = d.clamp_min(torch.finfo(torch.float64).tiny)
    scaled = v / d[:, None]
    small = torch.diag(1 / values) + v.T @ scaled
    solved: Tensor = slope / d - scaled @ torch.linalg.solve(small, scaled.T @ slope)
    return solved


def round_robin(tensors: Sequence[int], gone: Tensor, kept: Tensor, order: Tensor) -> Tensor:
    """Each donor's acceptor, as a place in `kept`, `[gone]`; -1 where its tensor keeps none.

    Within a tensor the donors go in turn to the acceptors (the paper's cyclic assignment).

    Args:
        tensors: numbers of weights of each tensor, in the order of the flat vector.
        gone: indices of the donors, ascending.
        kept: indices of the acceptors.
        order: places in `kept`, the most significant first.
    """
    mine, theirs = _owners(tensors, gone), _owners(tensors, kept[order])
    turn = theirs.argsort(stable=True)
    count = torch.bincount(theirs, minlength=len(tensors))
    first, donors = count.cumsum(0) - count, torch.bincount(mine, minlength=len(tensors))
    number = torch.arange(len(gone)) - (donors.cumsum(0) - donors)[mine]
    taken = first[mine] + number % count[mine].clamp_min(1)
    acceptors = order[turn] if len(order) else torch.zeros(1, dtype=torch.long)
    partner: Tensor = torch.where(count[mine] > 0, acceptors[taken.clamp_max(len(acceptors) - 1)], -1)
    return partner


def constant(model: Quadratic, partner: Tensor) -> Tensor:
    """Half of each donor to its acceptor, whatever the curvature, `[kept]`."""
    there = partner >= 0
    given = GIVEN * model.w[model.gone[there]]
    return torch.zeros(len(model.kept), dtype=torch.float64).index_add_(0, partner[there], given)


def pairwise(model: Quadratic, partner: Tensor) -> Tensor:
    """To each acceptor what is best for each of its pairs alone, `h_ij w_i / h_jj`, `[kept]`."""
    there = partner >= 0
    i, j = model.gone[there], model.kept[partner[there]]
    between = (model.v[i] * model.values * model.v[j]).sum(1)
    own = model.rest[j] + (model.v[j].square() * model.values).sum(1)
    given = between * model.w[i] / own.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.zeros(len(model.kept), dtype=torch.float64).index_add_(0, partner[there], given)


def _owners(tensors: Sequence[int], index: Tensor) -> Tensor:
    """Which tensor each flat index lies in."""
    ends = torch.tensor(tensors).cumsum(0)
    return torch.searchsorted(ends, index, right=True)
