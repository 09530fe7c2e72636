"""The weights of a network that pruning may take, as one vector, and the loss that it has with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced
from edgeprune.train.batch_norm import reestimate


class Flat:
    """A network's maskable weights as one flat vector on the CPU, and its loss.

    Args:
        traced: the network, in eval mode.
        masks: by the names of its weights, in the order of the vector.
        x: calibration images `[m, ...]`.
        y: labels `[m]`.
        follow: whether BatchNorm's statistics are to follow the weights.
    """

    def __init__(self, traced: Traced, masks: Mapping[str, Tensor], x: Tensor, y: Tensor, follow: bool = True) -> None:
        self._traced, self._names, self._follow = traced, [*masks], follow
        self._parameters = [traced.module.get_parameter(name) for name in masks]
        self.shapes = [parameter.shape for parameter in self._parameters]
        self._x, self._y, self._device = x, y, device_of(traced)

    def read(self) -> Tensor:
        return torch.cat([parameter.detach().cpu().flatten() for parameter in self._parameters])

    def write(self, flat: Tensor) -> None:
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self._pieces(flat), strict=True):
                parameter.copy_(part)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        return {name: part.clone() for name, part in zip(self._names, self._pieces(flat), strict=True)}

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def spread(self, flat: Tensor) -> Tensor:
        """The root mean square of each weight's tensor, `[n]`, over the weights that are not zero."""
        parts = self._pieces(flat)
        sizes = [part[part != 0].square().mean().sqrt() if bool(part.any()) else part.new_zeros(()) for part in parts]
        return torch.cat([size.expand(part.numel()) for size, part in zip(sizes, parts, strict=True)])

    def loss(self) -> float:
        """The mean cross-entropy with the true labels, BatchNorm re-estimated first where it follows."""
        parts = self._x.tensor_split(max(1, round(len(self._x) / 128)))
        if self._follow:
            reestimate(self._traced, parts)
        labels = self._y.tensor_split(len(parts))
        total = 0.0
        with torch.no_grad():
            for part, truth in zip(parts, labels, strict=True):
                logits = self._traced.module(part.to(self._device))
                total += float(functional.cross_entropy(logits, truth.to(self._device), reduction="sum"))
        value = total / len(self._x)
        return value if math.isfinite(value) else math.inf
