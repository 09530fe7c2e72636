"""Cuts: which channels go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cuts:
    """The units (class labels of the network's provenance) that are cut, and what was reached by it."""

    units: frozenset[int]
    kept: dict[str, tuple[int, int]]
    """Group name -> (units kept, units there were)."""
    reached: dict[str, float]
    """Budget kind -> share of the dense network: `macs`, `params` kept, `sparsity` removed."""
