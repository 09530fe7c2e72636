"""What a network has much or little of, as a function of how many units each channel group keeps.

Every length of a tensor is `fixed + sum over groups of kept_g * width_g`, so sizes are products of such lengths,
and follow exactly from the kept counts without building any network. A quantity can have several parts (memory: one
per moment of the execution), each of which a limit holds; the largest is its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Quantity(Protocol):
    """`kept` and `fewer` are counts of units, `[groups]`."""

    def at(self, kept: Counts) -> Floats:
        """The parts' values, `[parts]`."""

    def saved(self, kept: Counts, fewer: Counts) -> Floats:
        """By how much each part shrinks if one group alone keeps `fewer` units less, `[parts, groups]`."""

    @property
    def separable(self) -> bool:
        """Whether it has one part, a constant plus one function of each group alone."""

    @property
    def stepped(self) -> bool:
        """Whether one step may save nothing and the next one much."""


def value(quantity: Quantity, kept: Counts) -> float:
    return float(quantity.at(kept).max())


@dataclass(frozen=True)
class Products:
    """Sizes of tensors: `scale` times the product of the lengths that groups have a part in."""

    scale: Floats
    """`[rows]`: the constant lengths, multiplied."""
    fixed: Floats
    """`[rows, axes]`: the part of each length that no group holds; 1 for axes that a row lacks."""
    row: Counts
    """`[pairs]`: row and group of each pair of them that meet."""
    group: Counts
    width: Floats
    """`[pairs, axes]`: indices per unit."""
    groups: int

    def lengths(self, kept: Counts) -> Floats:
        parts = self.width * kept[self.group, None]
        found = self.fixed.copy()
        for axis in range(found.shape[1]):
            found[:, axis] += np.bincount(self.row, parts[:, axis], len(found))
        return found

    def sizes(self, kept: Counts) -> Floats:
        """`[rows]`."""
        found: Floats = self.scale * self.lengths(kept).prod(1)
        return found

    def shrunk(self, kept: Counts, fewer: Counts) -> Floats:
        """By how much each pair's row shrinks if its group alone keeps `fewer` units less, `[pairs]`."""
        before = self.lengths(kept)[self.row]
        after = before - self.width * fewer[self.group, None]
        found: Floats = self.scale[self.row] * (before.prod(1) - after.prod(1))
        return found


@dataclass(frozen=True)
class Weighted:
    """A weighted sum of sizes: multiply-adds, parameters, bytes."""

    products: Products
    weight: Floats
    """`[rows]`."""

    def at(self, kept: Counts) -> Floats:
        return np.array([self.weight @ self.products.sizes(kept)])

    def saved(self, kept: Counts, fewer: Counts) -> Floats:
        shrunk = self.weight[self.products.row] * self.products.shrunk(kept, fewer)
        per_group: Floats = np.bincount(self.products.group, shrunk, self.products.groups).astype(np.float64)
        return per_group[None]

    @property
    def separable(self) -> bool:
        """No size that counts has two groups in it, as when every second layer is kept whole."""
        meets = np.bincount(self.products.row, minlength=len(self.weight))
        return bool((meets[self.weight != 0] <= 1).all())

    @property
    def stepped(self) -> bool:
        return False


@dataclass(frozen=True)
class Affine:
    """Parts that are linear in the kept counts: `constant + slope @ kept`."""

    constant: Floats
    """`[parts]`."""
    slope: Floats
    """`[parts, groups]`."""

    def at(self, kept: Counts) -> Floats:
        found: Floats = self.constant + self.slope @ kept
        return found

    def saved(self, kept: Counts, fewer: Counts) -> Floats:  # noqa: ARG002
        found: Floats = self.slope * fewer
        return found

    @property
    def separable(self) -> bool:
        return len(self.constant) == 1

    @property
    def stepped(self) -> bool:
        return False

    def above(self, limit: float, whole: Counts) -> Affine:
        """Only the parts that are above a limit when nothing is cut, the largest at least: no cut makes one grow."""
        parts = self.at(whole)
        relevant = parts >= min(limit, parts.max())
        return Affine(self.constant[relevant], self.slope[relevant])
