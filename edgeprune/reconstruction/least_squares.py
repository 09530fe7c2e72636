"""Layer-wise reconstruction in closed form: the kept weights of a layer that come closest to a wanted output.

With u `[K]` what one output's weights are multiplied with (a patch of the input, and a 1 for the bias) and t the wanted
output, the kept weights w minimise `E (w u - t)^2`: per output channel the normal equations `A_ZZ w = b_Z` with
`A = E[u u']` and `b = E[t u]`, on the rows and columns Z that its mask keeps. A ridge relative to A's mean diagonal
keeps them solvable. This is SNOWS with K = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.curvature.layer_gradients import SimpleLayer, as_pictures, unfolded

RIDGE = 1e-4
"""Of the mean diagonal."""
AT_ONCE = 2**25
"""Elements of the matrices that are solved together."""


@dataclass(frozen=True)
class Moments:
    """`inputs`: E[u u'] `[groups, K, K]`; `outputs`: E[t u'] `[out, K]`; both float64."""

    inputs: Tensor
    outputs: Tensor


class Summing:
    """Moments of a layer, batch by batch."""

    def __init__(self, layer: SimpleLayer, bias: bool) -> None:
        self._layer, self._bias, self._count = layer, bias, 0
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None

    def add(self, x: Tensor, wanted: Tensor | None) -> None:
        """See one batch: what the layer reads, `[n, ...]`, and what it should put out; None: inputs only."""
        patches = unfolded(self._layer, x)  # [n, groups, K, P]
        if self._bias:
            ones = patches.new_ones(1, 1, 1, 1).expand(*patches.shape[:2], 1, patches.shape[3])
            patches = torch.cat([patches, ones], 2)
        flat = patches.permute(1, 2, 0, 3).flatten(2)  # [groups, K, n P]
        inputs = (flat @ flat.transpose(1, 2)).double()
        self._inputs = inputs if self._inputs is None else self._inputs + inputs
        self._count += flat.shape[2]
        if wanted is None:
            return
        target = as_pictures(self._layer, wanted).flatten(2).movedim(1, 0).flatten(1)  # [out, n P]
        groups = flat.shape[0]
        outputs = (target.unflatten(0, (groups, -1)) @ flat.transpose(1, 2)).flatten(0, 1).double()
        self._outputs = outputs if self._outputs is None else self._outputs + outputs

    def moments(self) -> Moments:
        assert self._inputs is not None, "no batch was seen"
        outputs = self._outputs if self._outputs is not None else self._inputs.new_zeros(0)
        return Moments(self._inputs / self._count, outputs / self._count)


class Rows:
    """The kept places of each output channel, side by side: channels that keep fewer are filled up.

    Args:
        inputs: second moments `[groups, K, K]`.
        kept: bool `[out, K]`.
    """

    def __init__(self, inputs: Tensor, kept: Tensor) -> None:
        self._inputs, self._kept = inputs, kept.to(inputs.device)
        self.most = int(kept.sum(1).max())
        order = self._kept.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        self.places = order[:, : self.most]
        """`[out, most]`, ascending where `live`."""
        self.live = self._kept.gather(1, self.places)
        self.group = torch.arange(len(kept), device=inputs.device) // (len(kept) // len(inputs))

    def blocks(self, rows: Tensor) -> Tensor:
        """`A_ZZ` of some channels, `[rows, most, most]`, zero where nothing is kept."""
        index, on = self.places[rows], self.live[rows]
        found = self._inputs[self.group[rows][:, None, None], index[:, :, None], index[:, None, :]]
        return found * (on[:, :, None] & on[:, None, :])

    def diagonal(self) -> Tensor:
        """That of the blocks, `[out, most]`."""
        return self._inputs.diagonal(dim1=1, dim2=2)[self.group].gather(1, self.places) * self.live


def solve_rows(moments: Moments, kept: Tensor, ridge: float = RIDGE) -> Tensor:
    """The best kept weights of every output channel, zero elsewhere: `[out, K]`, float64.

    Args:
        moments: of the layer.
        kept: bool `[out, K]`.
        ridge: added to the diagonal, relative to its mean.
    """
    mean = moments.inputs.diagonal(dim1=1, dim2=2).mean(1)
    added = ridge * mean.clamp_min(torch.finfo(torch.float64).tiny)
    solved = torch.zeros(kept.shape, dtype=torch.float64, device=moments.inputs.device)
    rows = Rows(moments.inputs, kept)
    if rows.most == 0:
        return solved
    for some in torch.arange(len(kept), device=solved.device).split(max(1, AT_ONCE // rows.most**2)):
        a, index, on = rows.blocks(some), rows.places[some], rows.live[some]
        # Unknowns of their own, which come out as zero, where a channel keeps fewer.
        a.diagonal(dim1=1, dim2=2).add_(torch.where(on, added[rows.group[some]][:, None], 1.0))
        b = moments.outputs[some].gather(1, index) * on
        factor, failed = torch.linalg.cholesky_ex(a)
        if bool(failed.any()):
            found = torch.linalg.lstsq(a, b[:, :, None]).solution[:, :, 0]
        else:
            found = torch.cholesky_solve(b[:, :, None], factor)[:, :, 0]
        solved[some] = solved[some].scatter(1, index, found * on)
    return solved
