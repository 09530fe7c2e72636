"""Cuts: which channels go."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cuts:
    """The units (class labels of the network's provenance) that are cut, and what was reached by it."""

    units: frozenset[int]
    kept: dict[str, tuple[int, int]]
    """Group name -> (units that stay, units there were)."""
    reached: dict[str, float]
    """Budget kind -> share of the dense network: `macs`, `params` kept, `sparsity` removed."""
    implants: frozenset[int] = frozenset()
    """Of the units that stay, those that 1x1 convolutions make from now on (`implants`)."""
    implanted: dict[str, int] = field(default_factory=dict)
    """Group name -> how many of those."""
