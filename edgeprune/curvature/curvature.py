"""Curvature: numbers about the loss's second derivative at the trained weights, with their doubt and history."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError


@dataclass(frozen=True)
class Estimate:
    """An estimated vector. `standard_error` is of the mean over `samples` probes."""

    value: Tensor
    standard_error: Tensor
    samples: int


@dataclass(frozen=True)
class Effort:
    """What an estimate took. `by_outputs`, `by_products`: how many weights by which of the two ways (`trace`)."""

    seconds: float
    peak_bytes: int
    overflows: int
    """Products in half precision that were computed again at a smaller scale."""
    underflows: int
    """Times that the scale was raised."""
    by_outputs: int
    by_products: int


@dataclass(frozen=True)
class Curvature:
    """Trace of the Hessian block of every output channel, per weight: name -> `[out]`.

    `per_probe`: name -> `[probes, out]`, the samples that the estimates are the means of; what a sum over
    channels of several layers is worth follows from them, since one probe serves all layers.
    """

    per_probe: dict[str, Tensor]
    images: int
    probing: Probing | None = None
    effort: Effort | None = None
    fingerprint: dict[str, str] = field(default_factory=dict)
    """Hashes of what it was estimated of: `network`, `images`."""

    @property
    def probes(self) -> int:
        return len(next(iter(self.per_probe.values())))

    def trace(self, weight: str) -> Estimate:
        """The estimate for one weight's output channels."""
        return _mean(self.per_probe[weight])

    def layer(self, weight: str) -> Estimate:
        """The trace of one weight's whole block: a number."""
        return _mean(self.per_probe[weight].double().sum(1))

    def total(self) -> Estimate:
        """The trace over all weights: a number."""
        return _mean(torch.stack([rows.double().sum(1) for rows in self.per_probe.values()]).sum(0))


def _mean(samples: Tensor) -> Estimate:
    count = samples.shape[0]
    return Estimate(samples.mean(0), samples.std(0) / count**0.5, count)


def save_curvature(curvature: Curvature, path: Path) -> None:
    """Write as safetensors; the caller makes it atomic."""
    words = {
        "edgeprune": "curvature",
        "images": str(curvature.images),
        "fingerprint": json.dumps(curvature.fingerprint),
        "probing": json.dumps(asdict(curvature.probing) if curvature.probing else None),
        "effort": json.dumps(asdict(curvature.effort) if curvature.effort else None),
    }
    tensors = {name: samples.contiguous() for name, samples in curvature.per_probe.items()}
    path.write_bytes(to_bytes(tensors, metadata=words))


def load_curvature(path: Path) -> Curvature:
    """Read what `save_curvature` wrote.

    Raises:
        EdgepruneError: it is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if words.get("edgeprune") != "curvature":
            raise ValueError("it holds something else")
        probing, effort = json.loads(words["probing"]), json.loads(words["effort"])
        return Curvature(
            tensors,
            int(words["images"]),
            Probing(**probing) if probing else None,
            Effort(**effort) if effort else None,
            json.loads(words["fingerprint"]),
        )
    except Exception as error:  # of safetensors, of the system, or of what another version wrote, by many names
        raise EdgepruneError(
            f"{path}: cannot be read as a curvature ({error}). Write it with edgeprune curvature."
        ) from None
