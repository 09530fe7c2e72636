"""Curvature: numbers about the loss's second derivative at the trained weights, with their doubt and history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """An estimated vector. `standard_error` is of the mean over `samples` probes."""

    value: Tensor
    standard_error: Tensor
    samples: int


@dataclass(frozen=True)
class Curvature:
    """Trace of the Hessian block of every output channel, per weight: name -> `[out]`.

    `per_probe`: name -> `[probes, out]`, the samples that the estimates are the means of; what a sum over
    channels of several layers is worth follows from them, since one probe serves all layers.
    """

    per_probe: dict[str, Tensor]
    images: int

    def trace(self, weight: str) -> Estimate:
        """The estimate for one weight's output channels."""
        samples = self.per_probe[weight]
        count = samples.shape[0]
        return Estimate(samples.mean(0), samples.std(0) / count**0.5, count)


def save_curvature(curvature: Curvature, path: Path) -> None:
    """Write as safetensors; the caller makes it atomic."""
    tensors = {name: samples.contiguous() for name, samples in curvature.per_probe.items()}
    path.write_bytes(to_bytes({**tensors, "_images": torch.tensor(curvature.images)}))


def load_curvature(path: Path) -> Curvature:
    """Read what `save_curvature` wrote."""
    tensors = load_file(path)
    images = int(tensors.pop("_images"))
    return Curvature(tensors, images)
