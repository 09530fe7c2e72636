"""The allocations that are rules: no image is looked at, beyond what the scores know.

`uniform`  every part keeps the same share.
`erk`      a weight keeps a share in proportion to (sum of its dimensions) / (their product); what would keep more than
           all is kept whole, and the rest is scaled up (Evci et al. 2020, arXiv 1911.11134, Erdos-Renyi-Kernel).
`global`   one threshold on the scores of all parts.
`lamp`     one threshold on each score's square over the sum of squares of those in its part that are not smaller (Lee
           et al. 2021, arXiv 2010.07611, eq. 2): the best of every part scores 1, so that no part is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeprune.allocation.parts import Lot, Part
from edgeprune.allocation.projection import Family
from edgeprune.pruning.quantity import Floats
from edgeprune.spec.methods import AllocatorName


def uniform(lot: Lot) -> Family:
    def family(t: float) -> Floats:
        return np.full(len(lot.parts), t)

    return family


def erk(lot: Lot) -> Family:
    density = np.array([_density(part) for part in lot.parts])

    def family(t: float) -> Floats:
        # At t = 1 every part is whole, as any budget may ask for.
        found: Floats = np.minimum(1.0, t * density / density.min())
        return found

    return family


def _density(part: Part) -> float:
    return sum(sum(shape) for shape in part.shapes) / sum(float(np.prod(shape)) for shape in part.shapes)


def global_(lot: Lot) -> Family:
    return _threshold([part.scores for part in lot.parts])


def lamp(lot: Lot) -> Family:
    return _threshold([lamp_scores(part.scores) for part in lot.parts])


def lamp_scores(scores: Floats) -> Floats:
    """LAMP's scores of one part's units, `[units]`."""
    order = np.argsort(scores, kind="stable")
    squares = scores[order].astype(np.float64) ** 2
    not_smaller = np.cumsum(squares[::-1])[::-1]
    found: Floats = np.empty(len(scores))
    found[order] = squares / np.maximum(not_smaller, np.finfo(np.float64).tiny)
    return found


def _threshold(scores: list[Floats]) -> Family:
    """A part keeps its share of the best t of all units."""
    every = np.concatenate(scores)
    place = np.empty(len(every), dtype=np.int64)
    place[np.argsort(-every, kind="stable")] = np.arange(len(every))
    ends = np.cumsum([len(part) for part in scores])
    places = [np.sort(part) for part in np.split(place, ends[:-1])]

    def family(t: float) -> Floats:
        best = round(t * len(every))
        return np.array([np.searchsorted(part, best) / len(part) for part in places])

    return family


RULES: dict[AllocatorName, Callable[[Lot], Family]] = {"uniform": uniform, "erk": erk, "global": global_, "lamp": lamp}
