"""CAMP-HiVe's cycles on single weights without training between them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor

from edgeprune.merging.cycle import CycleLog, Merging, curve, one_cycle
from edgeprune.merging.selection import check_sparsity, schedule
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent


def in_cycles(
    dense: Traced,
    masks: Mapping[str, Tensor],
    sparsity: float,
    cycles: int,
    x: Tensor,
    y: Tensor,
    asked: Merging,
    tick: Tick = silent,
    curved_images: int = 512,
) -> tuple[Traced, dict[str, Tensor], list[CycleLog]]:
    """Prune a copy of a network to a sparsity, in cycles; eigenvectors are handed from one to the next.

    Args:
        dense: the network; it is not changed.
        masks: weight name -> bool, all True: the weights that may go, in order.
        sparsity: share of them that is zero at the end.
        cycles: how many.
        x: calibration images `[m, ...]`.
        y: labels `[m]`.
        asked: how.
        tick: told of what goes on.
        curved_images: of them, those that the curvature is estimated on.

    Returns:
        the network, its masks, and what each cycle did.

    Raises:
        EdgepruneError: so many cannot go, or as `curve` and `one_cycle` say.
    """
    student, kept, start = Traced(copy.deepcopy(dense.module), dense.input_shape), dict(masks), None
    check_sparsity([mask.shape for mask in masks.values()], sparsity, asked.least, asked.by_tensor)
    logs: list[CycleLog] = []
    for cycle in range(1, cycles + 1):
        curved = (
            curve(student, kept, x[:curved_images], y[:curved_images], asked, start, tick) if asked.curves else None
        )
        start = curved.vectors if curved is not None else None
        kept, log = one_cycle(student, dense, kept, schedule(sparsity, cycle, cycles), x, y, asked, curved, tick)
        logs.append(log)
    return student, kept, logs
