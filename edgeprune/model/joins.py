"""Joins: what the channels of a sum are called where its terms are cut each alone (`coupling = "union"`).

A join is one channel of a sum, with a label of its own. It stays while a channel of a term does that is added into
it, so a sum keeps the union of what its terms keep. This is what HAP's released code does at residual additions (Yu
et al. 2021, arXiv 2101.08940): every convolution is ranked and cut alone, and the addition scatters its terms over
the union of their indices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeprune.model.labels import FROZEN, Labels


@dataclass
class Joins:
    """The joins so far. `rows`: tensors `[3, n]`, a join's label and those of its two terms."""

    rows: list[Tensor] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    """The sums that have joins, by node name."""

    def mint(self, labels: Labels, first: Tensor, second: Tensor) -> Tensor:
        """New labels for the sums of channels, `[n]` each."""
        fresh = labels.fresh(len(first))
        self.rows.append(torch.stack([fresh, first, second]))
        return fresh

    def all(self) -> Tensor:
        """`[3, joins]`."""
        return torch.cat(self.rows, 1) if self.rows else torch.zeros(3, 0, dtype=torch.int64)

    def terms_of(self, labels: Labels, classes: Tensor) -> Tensor:
        """All that is added, directly or through further sums, into channels of these classes."""
        rows = labels.find(self.all())
        found, new = torch.zeros(0, dtype=torch.int64), classes[classes != FROZEN].unique()
        while new.numel():
            terms = rows[1:, torch.isin(rows[0], new)].unique()
            new = terms[~torch.isin(terms, found)]
            found = torch.cat([found, new])
        return found

    def settle(self, labels: Labels) -> None:
        """Freeze the joins of which a term is frozen; one with no term but itself and its like is theirs."""
        while True:
            before = labels.changes
            rows = labels.find(self.all())
            frozen = (rows[1:] == FROZEN).any(0)
            labels.freeze(rows[0, frozen])
            if labels.changes != before:
                continue
            for base in _ungrounded(rows):
                labels.tie(base[None])
            if labels.changes == before:
                return

    def bases(self, labels: Labels) -> dict[int, frozenset[int]]:
        """Class of joins -> the classes that are no joins and add up to it; it is cut once they are all cut."""
        rows = labels.find(self.all())
        direct = _direct(rows[:, rows[0] != FROZEN])
        found: dict[int, frozenset[int]] = {join: frozenset() for join in direct}
        changed = True
        while changed:  # a sum comes after its terms, so once through is nearly always enough
            changed = False
            for join, terms in direct.items():
                base = frozenset().union(*(found.get(term, frozenset({term})) for term in terms))
                changed = changed or base != found[join]
                found[join] = base
        return {join: base for join, base in found.items() if base}


def _direct(rows: Tensor) -> dict[int, set[int]]:
    """Class of joins -> the other classes that are added into it."""
    direct: dict[int, set[int]] = {}
    for join, first, second in sorted(rows.T.tolist()):
        direct.setdefault(join, set()).update({first, second} - {join})
    return direct


def _ungrounded(rows: Tensor) -> list[Tensor]:
    """Classes of joins that only have each other for terms, so that nothing decides when they go."""
    direct = _direct(rows[:, rows[0] != FROZEN])
    open_ = {join for join, terms in direct.items() if terms <= direct.keys()}
    while grounded := {join for join in open_ if direct[join] - open_}:
        open_ -= grounded
    return [torch.tensor([join, *sorted(direct[join])]) for join in sorted(open_) if direct[join]]
