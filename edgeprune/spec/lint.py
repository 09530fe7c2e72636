"""Lint: which layers of an ONNX file a target's runtime runs in INT8, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One layer, or one product of activations."""

    layer: str
    operator: str
    macs: int | None
    """For one image; None where the file could not be run to count them."""
    int8: bool
    why: str = ""
    """Why it runs in float; for a layer in INT8, empty."""
    mendable: bool = True
    """Whether another form of the file would change that; not where the runtime has no integer kernel at all."""


@dataclass(frozen=True)
class Lint:
    """What there is to say of a file."""

    file: str
    target: str
    runtime: str
    read_from: str
    """What the verdicts rest on: the graph that the runtime made of the file, or its documented rules."""
    verdicts: tuple[Verdict, ...]
    faults: tuple[str, ...]
    """For which the runtime refuses the file, or computes something else than it says."""
    notes: tuple[str, ...]
    """What costs time and is no fault."""

    @property
    def share(self) -> float:
        """Of the multiply-adds that run in INT8; of the layers, where those are unknown."""
        weights = [1 if verdict.macs is None else verdict.macs for verdict in self.verdicts]
        inside = [weight for weight, verdict in zip(weights, self.verdicts, strict=True) if verdict.int8]
        return sum(inside) / max(sum(weights), 1)

    @property
    def clean(self) -> bool:
        """Whether there is nothing that another form of the file would mend."""
        return not self.faults and all(verdict.int8 or not verdict.mendable for verdict in self.verdicts)
