"""Newton steps on a layer's kept weights, each on one batch of calibration images.

The direction solves `(H_Z + damping I) d = -g_Z` on the kept weights Z by conjugate gradients, which stop at negative
curvature (Steihaug 1983), at a residual relative to the gradient that falls as the gradient does (a forcing term in the
sense of Eisenstat and Walker 1996), or when the iterations are spent. The damping follows the ratio of the decrease
to the one that the quadratic model foretold (Levenberg 1944, Marquardt 1963; More 1978 for the bounds). The step is
shortened until the loss *on the same batch* has fallen enough (Armijo 1966); where no length does that, the weights
stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.curvature.cg import Stop, conjugate_gradients
from edgeprune.reconstruction.window import Batch, Point

ENOUGH, HALVINGS = 1e-4, 12
"""Armijo's share of the foretold decrease, and how often a step is halved before it is given up."""
GOOD, POOR = 0.75, 0.25
LESS, MORE = 1 / 3, 4.0
LEAST, MOST = 1e-9, 1e6
"""Of the damping, relative to the first one."""
LOOSE, SHARPEST = 0.5, 1e-4
"""The largest residual at which conjugate gradients may stop, and the fall of the gradient that asks no more of it."""


@dataclass(frozen=True)
class Settings:
    """How a step is found. `kind`: `ggn` or `hessian`; `iterations`: of conjugate gradients, at most."""

    kind: str = "ggn"
    iterations: int = 20
    tolerance: float = 0.1
    """Of the residual at most, where gradients are as large as the first one."""


@dataclass(frozen=True)
class Step:
    """What one step did. `length` 0: no length was good enough, and the weights stay."""

    before: float
    after: float
    length: float
    iterations: int
    why: Stop
    damping: float


class Kept:
    """The kept weights of some tensors as one flat vector."""

    def __init__(self, masks: Sequence[Tensor]) -> None:
        self._masks = list(masks)
        self._counts = [int(mask.sum()) for mask in masks]

    @property
    def size(self) -> int:
        return sum(self._counts)

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[size]`"""
        return torch.cat([tensor[mask] for tensor, mask in zip(tensors, self._masks, strict=True)])

    def spread(self, flat: Tensor) -> list[Tensor]:
        """In the shapes of the tensors, zero where nothing is kept."""
        parts = flat.split(self._counts)
        return [
            flat.new_zeros(mask.shape).masked_scatter(mask, piece)
            for mask, piece in zip(self._masks, parts, strict=True)
        ]


Precondition = Callable[[Point, float], Callable[[Tensor], Tensor]]
"""From where a step begins and its damping to an approximate inverse."""


class Newton:
    """Steps over batches; the damping and the size of the gradient are carried from one to the next."""

    def __init__(self, kept: Kept, settings: Settings, precondition: Precondition | None = None) -> None:
        self._kept, self._settings, self._precondition = kept, settings, precondition
        self._damping: float | None = None
        self._first: float | None = None
        self._scale = 1.0

    def step(self, batch: Batch, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Step]:
        """Return the tensors after one step, and what it did."""
        kept = self._kept
        point = batch.at(tensors, self._settings.kind)
        slope = kept.flat(point.gradient)
        size = float(slope.norm())
        if size == 0.0:
            return [*tensors], Step(point.loss, point.loss, 0.0, 0, Stop.SOLVED, self._damping or 0.0)

        def multiply(v: Tensor) -> Tensor:
            return kept.flat(point.product(kept.spread(v)))

        if self._damping is None:
            # Of the size of the curvature along the gradient, which conjugate gradients would meet first.
            self._damping = 1e-3 * float(slope.dot(multiply(slope))) / size**2
            self._damping = abs(self._damping) or 1.0
            self._scale = self._damping
        damping = self._damping
        solved = conjugate_gradients(
            multiply,
            -slope,
            damping,
            self._tolerance(size),
            self._settings.iterations,
            precondition=self._precondition(point, damping) if self._precondition is not None else None,
        )
        along = float(slope.dot(solved.x))
        moved, found = self._search(batch, tensors, point.loss, solved.x, along)
        self._adapt(found, point.loss, along, float(solved.x.square().sum()))
        return moved, Step(point.loss, found.after, found.length, solved.iterations, solved.why, damping)

    def _search(
        self, batch: Batch, tensors: Sequence[Tensor], before: float, direction: Tensor, along: float
    ) -> tuple[list[Tensor], _Found]:
        moves = self._kept.spread(direction)
        length = 1.0
        first = math.inf
        for halving in range(HALVINGS if along < 0 else 0):
            trial = [tensor + length * move for tensor, move in zip(tensors, moves, strict=True)]
            after = batch.loss(trial)
            first = after if halving == 0 else first
            if after <= before + ENOUGH * length * along:
                return trial, _Found(after, length, first)
            length /= 2
        return [*tensors], _Found(before, 0.0, first)

    def _adapt(self, found: _Found, before: float, along: float, square: float) -> None:
        """Levenberg-Marquardt. For what conjugate gradients return, `d' (H + damping) d = -g' d`."""
        assert self._damping is not None
        foretold = -(along - self._damping * square) / 2
        ratio = (before - found.first) / foretold if foretold > 0 else -math.inf
        if ratio > GOOD:
            self._damping *= LESS
        elif not ratio >= POOR:
            self._damping *= MORE
        self._damping = min(max(self._damping, LEAST * self._scale), MOST * self._scale)

    def _tolerance(self, size: float) -> float:
        """Of the residual, relative to the gradient: it falls with the gradient's root (Nocedal and Wright 7.1)."""
        self._first = self._first or size
        return min(LOOSE, self._settings.tolerance * math.sqrt(max(size / self._first, SHARPEST)))


@dataclass(frozen=True)
class _Found:
    after: float
    length: float
    first: float
    """The loss at the full step."""
