"""From what a tensor's values were on the calibration images to the range that its codes cover.

| method | range |
|---|---|
| minmax | all values |
| ema | the moving average of each batch's smallest and largest value (EHAP, HAWQ) |
| percentile | all but one value in ten thousand, at either end |
| mse | that with the least expected squared error of the rounded values (Banner et al. 2019, arXiv 1810.05723) |
| entropy | that with the least divergence of the rounded from the unrounded histogram (Migacz 2017, "8-bit Inference with TensorRT") |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

RangeMethod = Literal["ema", "minmax", "percentile", "mse", "entropy"]
BINS = 2048
OUTSIDE = 1e-4
"""Share of the values that a percentile leaves out."""
SHARES = tuple(n / 100 for n in range(20, 101, 2))
"""Of the whole range, which are tried."""


@dataclass
class Histogram:
    """How often a tensor's values fell into each of `BINS` equal bins between `lower` and `upper`."""

    lower: float
    upper: float
    counts: Tensor

    @classmethod
    def over(cls, lower: float, upper: float) -> Histogram:
        """One that holds nothing yet; a tensor of one value has a range too."""
        width = max(upper - lower, 1e-12)
        return cls(lower, lower + width, torch.zeros(BINS, dtype=torch.float64))

    def add(self, x: Tensor) -> None:
        self.counts += torch.histc(x.detach().float(), BINS, self.lower, self.upper).double().cpu()

    def centres(self) -> Tensor:
        step = (self.upper - self.lower) / BINS
        return self.lower + step * (torch.arange(BINS, dtype=torch.float64) + 0.5)


Span: TypeAlias = tuple[float, float]


def percentile(seen: Histogram, codes: int) -> Span:  # noqa: ARG001
    """Cut the tails; an end at zero, as behind a ReLU, has none."""
    reached = seen.counts.cumsum(0) / seen.counts.sum()
    edges = torch.linspace(seen.lower, seen.upper, BINS + 1, dtype=torch.float64)
    low = int(torch.searchsorted(reached, OUTSIDE))
    high = int(torch.searchsorted(reached, 1 - OUTSIDE))
    lower = seen.lower if seen.lower >= 0 else float(edges[low])
    return lower, float(edges[min(high + 1, BINS)])


def mse(seen: Histogram, codes: int) -> Span:
    """Try shares of the whole range, and measure the squared error of each on the histogram."""
    centres = seen.centres()

    def error(span: Span) -> float:
        lower, upper = span
        scale = max(upper - lower, 1e-12) / codes
        rounded = ((centres.clamp(lower, upper) - lower) / scale).round() * scale + lower
        return float((seen.counts * (rounded - centres) ** 2).sum())

    return min(_spans(seen), key=error)


def entropy(seen: Histogram, codes: int) -> Span:
    """Kullback-Leibler divergence of the clipped histogram from itself at the resolution of the codes."""
    centres, counts = seen.centres(), seen.counts.clone()
    if seen.lower == 0:  # the zeros of a ReLU are exact under every range, and would outweigh all else
        counts[0] = counts[1]

    def divergence(span: Span) -> float:
        lower, upper = span
        inside = (centres >= lower) & (centres <= upper)
        if not bool(inside.any()):
            return float("inf")
        kept = counts[inside].clone()
        kept[0] += counts[centres < lower].sum()
        kept[-1] += counts[centres > upper].sum()
        # What is clipped counts to the outermost bins of the reference, and is lost in its rounded form.
        own = counts[inside]
        code = ((centres[inside] - lower) / max(upper - lower, 1e-12) * codes).floor().clamp(0, codes - 1).long()
        there = (own > 0).double()
        total = torch.zeros(codes, dtype=torch.float64).index_add_(0, code, own)
        filled = torch.zeros(codes, dtype=torch.float64).index_add_(0, code, there)
        rounded = there * (total / filled.clamp_min(1))[code]
        p, q = kept / kept.sum(), rounded / rounded.sum().clamp_min(1e-30)
        used = p > 0
        return float((p[used] * (p[used] / q[used].clamp_min(1e-12)).log()).sum())

    return min(_spans(seen), key=divergence)


def _spans(seen: Histogram) -> list[Span]:
    return [(share * seen.lower, share * seen.upper) for share in SHARES]


HISTOGRAMS: dict[RangeMethod, Callable[[Histogram, int], Span]] = {
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
"""The methods that need a second look at the images."""
