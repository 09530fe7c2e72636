"""An approximate inverse for conjugate gradients: what the layer reads times how much each output matters.

The Gauss-Newton matrix of the K-step loss by the weights of one output channel r is about `c_r A` (Martens and Grosse
2015, arXiv 1503.05671, with the outputs' factor taken as diagonal): A is the second moment of the layer's inputs, and
`c_r` the sum over images and positions of the squared gradient at that output of random signs over all operations,
which is what one backward pass estimates. With no operation ahead that is the matrix itself. Per output channel, on
the rows and columns that its mask keeps, damped as the system is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgeprune.reconstruction.least_squares import Rows

AT_MOST = 2**27
"""Elements of all blocks; with more, only their diagonals are used."""


class RowBlocks:
    """Blocks per output channel of one weight, then a diagonal for its bias where that moves too.

    Args:
        inputs: second moments `[groups, K, K]` of what the layer reads (a constant 1 not included).
        kept: bool `[out, K]`.
        like: in whose type it computes.
    """

    def __init__(self, inputs: Tensor, kept: Tensor, like: Tensor) -> None:
        self._rows = Rows(inputs, kept)
        self._count, self._like = int(kept.sum()), like
        whole = len(kept) * self._rows.most**2 <= AT_MOST
        self._blocks = self._rows.blocks(torch.arange(len(kept), device=inputs.device)) if whole else None

    def at(self, outputs: Tensor, damping: float) -> Callable[[Tensor], Tensor]:
        """The inverse for `c_r` `[out]` and a damping, on flat vectors of kept weights and then biases."""
        scale, live = outputs.double(), self._rows.live
        diagonal = self._rows.diagonal() * scale[:, None] + damping
        factor = None
        if self._blocks is not None:
            damped = self._blocks * scale[:, None, None]
            damped.diagonal(dim1=1, dim2=2).copy_(torch.where(live, diagonal, 1.0))
            factor, failed = torch.linalg.cholesky_ex(damped.to(self._like))
            factor = None if bool(failed.any()) else factor

        def apply(v: Tensor) -> Tensor:
            own, rest = v[: self._count], v[self._count :]
            spread = v.new_zeros(live.shape).masked_scatter(live, own)
            if factor is not None:
                solved = torch.cholesky_solve(spread[:, :, None], factor)[:, :, 0]
            else:
                solved = spread / diagonal.to(v)
            return torch.cat([solved[live], rest / (scale.to(v) + damping)]) if len(rest) else solved[live]

        return apply
