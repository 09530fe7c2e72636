"""Data: the images that a network is trained, steered and finally judged on.

DATA is a folder of class folders, an `.npz`, a folder with the CIFAR binaries, `digits`, or
`file.py:function`. Every source hands on `Raw`; what follows (validation split, normalisation, fingerprint)
is one for all.

Where the user says nothing: RGB images get ImageNet's mean and standard deviation, grey and other ones .5
and .5, floats stay as they are (mean 0, deviation 1). RGB folders and CIFAR are photographs, which may be
mirrored (`crop-flip`); everything else may hold letters or digits, which may not (`crop`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.model import arrays, folders, functions
from edgeprune.model.raw import Part, Raw, Request, stratified
from edgeprune.model.user_code import is_reference
from edgeprune.pictures import Images
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import Preprocessing
from edgeprune.spec.recipe import Source

Augment = Literal["none", "crop", "crop-flip"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FORMS = "Give a folder of class folders, an .npz, a folder with the CIFAR binaries, digits, or file.py:function."


@dataclass(frozen=True)
class Split:
    """Images `[N, C, H, W]`, uint8 or float32, already resized and cropped, and their labels `[N]`."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Three splits; `val` serves every choice, `test` only the figures that are reported."""

    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    augment: Augment
    skipped: tuple[str, ...]
    """Files that could not be read as images."""
    fingerprint: str
    """sha256 of images and labels as loaded, and of the preprocessing."""

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[1])


def load_data(
    source: Source,
    image_size: int | None = None,
    seed: int = 0,
    tick: Tick | None = None,
    scratch: Path | None = None,
) -> Data:
    """Load the images of `source.data`.

    Args:
        source: what the user asked.
        image_size: side of the square images; `None`: their own if all are equal, else 224.
        seed: draws the validation split (not the test set, which is the source's own).
        tick: told how far it is.
        scratch: a folder for decoded images beyond 2 GiB, which are then mapped instead of held in memory.

    Raises:
        EdgepruneError: nothing usable there; the text says what was expected.

    """
    raw = _read(source.data, Request(image_size, source.val_share, seed, tick or silent, scratch))
    preprocessing = _describe(source, raw)
    default: Augment = "crop-flip" if raw.kind == "photographs" else "crop"
    train, val, test = _split(raw, source.val_share, seed)
    return Data(
        Split(train.images, train.labels),
        Split(val.images, val.labels),
        Split(test.images, test.labels),
        raw.classes,
        preprocessing,
        source.augment or default,
        raw.skipped,
        _fingerprint((train, val, test), raw.classes, preprocessing),
    )


def _read(name: str, request: Request) -> Raw:
    if name == "digits":
        return arrays.load_digits(request)
    path = Path(name)
    if path.is_dir():
        files = arrays.cifar_files(path)
        if files is not None:
            return arrays.load_cifar(path, files, request)
        if not any(path.iterdir()):
            raise EdgepruneError(f"{path}: is empty. {folders.LAYOUT}")
        return folders.load_folders(path, request)
    if path.is_file() and path.suffix == ".npz":
        return arrays.load_npz(path, request)
    if is_reference(name):
        return functions.load_function(name, request)
    if path.exists():
        raise EdgepruneError(f"{path}: not a kind of data that is known. {FORMS}")
    raise EdgepruneError(f"{path}: no such file or folder. {FORMS}")


def _describe(source: Source, raw: Raw) -> Preprocessing:
    images = raw.train.images
    channels = images.shape[1]
    mean, std = (0.5,) * channels, (0.5,) * channels
    if images.dtype != np.uint8:
        mean, std = (0.0,) * channels, (1.0,) * channels
    elif channels == 3:
        mean, std = IMAGENET
    if source.mean is not None and source.std is not None:
        mean, std = source.mean, source.std
    if len(mean) != channels or len(std) != channels:
        raise EdgepruneError(
            f"mean and std have {len(mean)} values, the images {channels} channels. Give one for each."
        )
    if min(std) <= 0:
        raise EdgepruneError(f"std holds {min(std)}. Give values above 0.")
    return Preprocessing(
        channels="RGB" if channels == 3 else "L" if channels == 1 else "any",
        resize_shorter_to=raw.frame.resize_shorter_to,
        crop=raw.frame.crop,
        mean=mean,
        std=std,
    )


def _split(raw: Raw, val_share: float, seed: int) -> tuple[Part, Part, Part]:
    if raw.val is not None:
        return raw.train, raw.val, raw.test
    images, labels = raw.train.images, raw.train.labels
    rest, held = stratified(labels, val_share, seed, raw.classes)
    return Part(images[rest], labels[rest]), Part(images[held], labels[held]), raw.test


def _fingerprint(parts: tuple[Part, ...], classes: tuple[str, ...], preprocessing: Preprocessing) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        for array in (part.images, part.labels):
            hasher.update(f"{array.dtype} {array.shape}\n".encode())
            hasher.update(np.ascontiguousarray(array).data)
    hasher.update("\n".join(classes).encode())
    hasher.update(preprocessing.model_dump_json().encode())
    return hasher.hexdigest()
