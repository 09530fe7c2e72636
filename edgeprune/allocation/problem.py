"""What a search is about: the parts, the budget, and the allocation that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprune.allocation.parts import Kept, Lot
from edgeprune.allocation.projection import Goal, logits_of, shifted
from edgeprune.allocation.rules import RULES
from edgeprune.pruning.quantity import Floats
from edgeprune.spec.methods import AllocatorName


@dataclass(frozen=True)
class Problem:
    """`base`: logits of the shares kept, `[parts]`, that a search moves away from; `spread`: by about so much."""

    lot: Lot
    goal: Goal
    base: Floats
    spread: float = 0.5

    @classmethod
    def of(cls, lot: Lot, goal: Goal, spread: float = 0.5, start: Floats | None = None) -> Problem:
        """Around LAMP's allocation, moved by what an earlier search had moved it by (`start`, `[parts]`)."""
        kept = goal.fit(RULES["lamp"](lot))
        base = logits_of(kept, lot.units)
        return cls(lot, goal, base if start is None else base + start, spread)

    def kept(self, moves: Floats) -> Kept:
        """The allocation that the base, moved by so many logits `[parts]`, comes to under the budget."""
        return tuple(int(n) for n in self.goal.fit(shifted(self.base + moves)))

    def by_rule(self, name: AllocatorName) -> Kept:
        return tuple(int(n) for n in self.goal.fit(RULES[name](self.lot)))

    def moves(self, kept: Kept) -> Floats:
        """How far an allocation is from LAMP's, in logits: where the next search starts."""
        lamp = self.goal.fit(RULES["lamp"](self.lot))
        found: Floats = logits_of(np.array(kept), self.lot.units) - logits_of(lamp, self.lot.units)
        return found
