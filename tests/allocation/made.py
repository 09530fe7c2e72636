"""Problems whose best allocation is known, and a judge for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.allocation.bench import Judge, Verdict
from edgeprune.allocation.parts import Kept, Lot, Part
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.projection import Exactly

UNITS, ZEROS = 400, 0.8
COSTS = np.array([1.0, 4.0, 16.0, 0.25, 9.0])


def lot(sizes: Sequence[int] = (1,) * len(COSTS), units: int = UNITS) -> Lot:
    """Parts whose scores are alike, so that every rule but erk gives them the same share."""
    scores = np.linspace(1.0, 2.0, units)
    parts = [Part(f"part{i}", scores, 4, units, size, ((units, size),), units * size) for i, size in enumerate(sizes)]
    return Lot(tuple(parts), {})


def problem() -> Problem:
    found = lot()
    return Problem.of(found, Exactly.of(found, ZEROS))


def cost(kept: Kept) -> float:
    """What an allocation loses, `sum_i c_i / s_i` with s_i the share kept; the parts do not meet."""
    return float((COSTS / (np.array(kept) / UNITS)).sum())


def least_cost() -> float:
    """Under `sum_i s_i = S` the least is at s_i in proportion to the root of c_i (Lagrange)."""
    return float(np.sqrt(COSTS).sum() ** 2 / ((1 - ZEROS) * len(COSTS)))


def judge(many: Sequence[Kept]) -> list[Verdict]:
    """Accuracy falls with the cost; the loss says nothing."""
    return [Verdict(1.0 - cost(kept) / 500, 0.0) for kept in many]


separable: Judge = judge
