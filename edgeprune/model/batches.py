"""Batches: normalised float32 images with their labels, the same for the same seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgeprune.model.data import Augment, Split
from edgeprune.pictures import Images
from edgeprune.spec.bundle import Preprocessing

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shifts:
    """For each image of an epoch: where the crop of the padded image starts, and whether it is mirrored."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True)
class Batches:
    """Images and labels, batch by batch; may be iterated any number of times, with the same content.

    They are normalised and augmented on the device: bytes travel there, a quarter of what floats would be.
    """

    split: Split
    preprocessing: Preprocessing
    order: tuple[NDArray[np.int64], ...]
    shifts: Shifts | None = None
    device: torch.device = CPU

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.order:
            x = normalise(_tensor(self.split.images[rows]).to(self.device), self.preprocessing)
            if self.shifts is not None:
                x = _shift(x, self.shifts.top[rows], self.shifts.left[rows], self.shifts.mirrored[rows])
            yield x, torch.from_numpy(self.split.labels[rows]).to(self.device)


def normalise(images: Images | Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 (0..255) or float images `[N, C, H, W]` into the network's float32 input.

    uint8 is scaled to 0..1 first; floats are taken as they are.
    """
    if isinstance(images, np.ndarray):
        images = _tensor(images)
    x = images.to(torch.float32, copy=True)
    if images.dtype == torch.uint8:
        x.div_(255)
    mean = torch.tensor(preprocessing.mean, device=x.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=x.device).view(-1, 1, 1)
    return x.sub_(mean).div_(std)


def eval_batches(split: Split, preprocessing: Preprocessing, size: int, device: torch.device = CPU) -> Batches:
    """Return all images in order."""
    rows = np.arange(len(split))
    order = tuple(rows[i : i + size] for i in range(0, len(split), size))
    return Batches(split, preprocessing, order, device=device)


def train_batches(
    split: Split,
    preprocessing: Preprocessing,
    size: int,
    augment: Augment,
    seed: int,
    epoch: int,
    device: torch.device = CPU,
) -> Batches:
    """Return one epoch of shuffled, augmented batches, decided by `seed` and `epoch` alone.

    `crop` shifts each image by up to an eighth of its side over a border of zeros (the mean colour), as is
    usual for CIFAR (4 pixels of 32); `crop-flip` also mirrors every second one. A last batch of one image is
    dropped, since batch statistics need two.
    """
    # The hash keeps (0, 1) and (1, 0) apart.
    mixed = hashlib.sha256(f"train {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:7], "big"))
    rows = torch.randperm(len(split), generator=generator).numpy()
    order = tuple(rows[i : i + size] for i in range(0, len(split), size))
    if len(order) > 1 and len(order[-1]) == 1:
        order = order[:-1]
    if augment == "none":
        return Batches(split, preprocessing, order, device=device)
    reach = 2 * _padding(split.images.shape[-1]) + 1
    top, left = torch.randint(reach, (2, len(split)), generator=generator).numpy()
    mirrored = torch.rand(len(split), generator=generator).numpy() < 0.5
    if augment == "crop":
        mirrored = np.zeros_like(mirrored)
    return Batches(split, preprocessing, order, Shifts(top, left, mirrored), device)


def sample(split: Split, preprocessing: Preprocessing, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `count` images as they are (all, if there are fewer), as many of each class as can be."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(split))
    labels = split.labels[shuffled]
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    # The turn of an image is its place within its class: all firsts, then all seconds, ...
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.concatenate([np.arange(n) for n in counts])
    rows = shuffled[np.argsort(turn, kind="stable")[:count]]
    return normalise(split.images[rows], preprocessing), torch.from_numpy(split.labels[rows])


def _padding(side: int) -> int:
    return max(1, side // 8)


def _tensor(images: Images) -> Tensor:
    # A mapped or frozen array cannot back a tensor that torch may write to.
    return torch.from_numpy(np.require(images, requirements=["C", "W"]))


def _shift(x: Tensor, top: NDArray[np.int64], left: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> Tensor:
    """Crop each image of its zero-padded self at (top, left), then mirror it."""
    side = x.shape[-1]
    padding = _padding(side)
    # Views of every crop that there is: [N, C, rows, columns, side, side].
    crops = functional.pad(x, (padding,) * 4).unfold(2, side, 1).unfold(3, side, 1)
    image, row, column, flipped = (
        torch.from_numpy(rows).to(x.device) for rows in (np.arange(len(x)), top, left, np.flatnonzero(mirrored))
    )
    out = crops[image, :, row, column]
    out[flipped] = out[flipped].flip(-1)
    return out
