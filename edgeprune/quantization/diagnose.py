"""Where INT8 loses accuracy: each unit's noise, alone and where it stands, on a few images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.quantization.both import Both
from edgeprune.quantization.fake import enable
from edgeprune.quantization.place import Runtime
from edgeprune.quantization.units import Unit, units

NO_NOISE_DB = 200.0
"""Where two tensors are equal."""


@dataclass(frozen=True)
class Noise:
    """Signal to quantization noise in decibels, and the cosine between the float and the INT8 tensor."""

    sqnr_db: float
    cosine: float


@dataclass(frozen=True)
class Culprit:
    """One unit.

    `alone`: at the network's outputs, with this unit in INT8 and all else in float. `here`: at the unit's own output,
    with the whole network in INT8.
    """

    unit: str
    alone: Noise
    here: Noise


def diagnose(traced: Traced, batches: Iterable[Tensor], runtime: Runtime, tick: Tick = silent) -> list[Culprit]:
    """Rank the units of a network with quantizers (not frozen), the one that alone costs most first.

    Memory: the tensors alive at one node, twice, for one batch. Time: two runs, and one more for each unit.
    """
    module = traced.module
    every = units(module, runtime)
    parts = dict(module.named_modules())
    kept = [batch.to(device_of(traced)) for batch in batches]
    with torch.no_grad():
        here = _everywhere(module, every, kept)
        enable(module, False)
        wanted = [module(batch) for batch in kept]
        found = []
        for done, (name, unit) in enumerate(every.items()):
            tick("diagnosing", done, len(every))
            sums = _Sums()
            with _only(unit, parts):
                for batch, expected in zip(kept, wanted, strict=True):
                    sums.add(expected, module(batch))
            found.append(Culprit(name, sums.noise(), here[name].noise()))
        enable(module, True)
    tick("diagnosing", 1, 1)
    return sorted(found, key=lambda culprit: culprit.alone.sqnr_db)


@contextmanager
def _only(unit: Unit, parts: dict[str, nn.Module]) -> Iterator[None]:
    """Round with the quantizers of one unit alone."""
    own = [parts[str(node.target)] for node in unit.quantizers]
    for part in own:
        part.enabled = True  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in own:
            part.enabled = False  # type: ignore[assignment]


class _Sums:
    """What SQNR and cosine are made of, over batches."""

    def __init__(self) -> None:
        self.signal = self.noise_power = self.other = self.product = 0.0

    def add(self, wanted: Tensor, got: Tensor) -> None:
        wanted, got = wanted.double(), got.double()
        self.signal += float(wanted.square().sum())
        self.other += float(got.square().sum())
        self.noise_power += float((wanted - got).square().sum())
        self.product += float((wanted * got).sum())

    def noise(self) -> Noise:
        lengths = math.sqrt(self.signal * self.other)
        cosine = self.product / lengths if lengths else 1.0
        if not self.noise_power:
            return Noise(NO_NOISE_DB, cosine)
        ratio = max(self.signal, 1e-300) / self.noise_power
        return Noise(min(10 * math.log10(ratio), NO_NOISE_DB), cosine)


def _everywhere(module: fx.GraphModule, every: dict[str, Unit], batches: list[Tensor]) -> dict[str, _Sums]:
    names = {unit.node: name for name, unit in every.items()}
    found = {name: _Sums() for name in every}

    def see(node: fx.Node, wanted: Tensor, got: Tensor) -> None:
        if node in names:
            found[names[node]].add(wanted, got)

    for batch in batches:
        Both(module, see).run_on(batch)
    return found
