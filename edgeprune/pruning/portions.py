"""A budget in portions: what each of several cuts in a row may leave, when a network is cut again and again.

A cost model knows the network that it was made of, so the shares of a budget are of that one; here it is kept what the
cuts so far left of the network as it was before any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.pruning.budget import reached
from edgeprune.pruning.cost import Cost
from edgeprune.spec.budget import SHARES, Budget, LimitName

DIGITS = 4
"""Of a portion's shares."""


@dataclass(frozen=True)
class Left:
    """`whole`: what the network had of each quantity before any cut, shares being 1; `now`: what is left of it."""

    whole: Mapping[str, float]
    now: Mapping[str, float]

    @staticmethod
    def of(cost: Cost | None) -> Left:
        """All of it is left. `cost`: counts what the budget limits; None: only shares are counted."""
        found = reached(cost, cost.units) if cost is not None else {}
        whole = dict.fromkeys(SHARES, 1.0) | {name: value for name, value in found.items() if name not in SHARES}
        return Left(whole, whole)

    def portion(self, limits: Mapping[LimitName, float], way: float, cost: Cost | None) -> Budget | None:
        """The limits that bring a network `way` (0 to 1) to the final ones; None where they hold already.

        Args:
            limits: the final ones, of the whole network.
            way: the share of what goes in all that is gone afterwards.
            cost: of the network as it is, in whose terms the portion is; None where shares alone are limited.
        """
        unit, found, holds = self._unit(cost), dict[str, float](), True
        for name, limit in limits.items():
            final = 1 - limit if name == "sparsity" else limit
            wanted = self.whole[name] + (final - self.whole[name]) * way
            if name not in SHARES:
                found[name] = wanted * unit[name]
                holds &= self.now[name] <= wanted
                continue
            share = round(wanted / self.now[name], DIGITS)
            if share < 1:
                found[name] = 1 - share if name == "sparsity" else share
                holds = False
        return None if holds else Budget.model_validate(found)

    def after(self, found: Mapping[str, float], cost: Cost | None) -> Left:
        """What is left when a cut has reached so much, in the terms of the network that it was made in."""
        unit, now = self._unit(cost), dict(self.now)
        for name in now:
            if name in SHARES:
                now[name] *= 1 - found[name] if name == "sparsity" else found[name]
            else:
                now[name] = found[name] / unit[name]
        return Left(self.whole, now)

    def reached(self) -> dict[str, float]:
        """As `budget.reached` says it, of the whole network."""
        return {name: 1 - value if name == "sparsity" else value for name, value in self.now.items()}

    def _unit(self, cost: Cost | None) -> dict[str, float]:
        """Of each absolute quantity, what the cost says of the network as it is, over what is known to be left of it.

        They differ where measured times of the whole network are scaled: a thinner one counts as that whole again.
        """
        found = reached(cost, cost.units) if cost is not None else {}
        return {name: found[name] / now for name, now in self.now.items() if name not in SHARES}
