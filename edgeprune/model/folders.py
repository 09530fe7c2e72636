"""Images in class folders: `DATA/train/CLASS/*.jpg` and `DATA/test/CLASS/*.jpg`.

`val/` stands in for a missing `test/`; where all three are there, `val/` is the validation split.
The split is drawn before anything is decoded, so that a set larger than memory is laid out once, in order.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeprune.errors import EdgepruneError
from edgeprune.model.images import frame_for
from edgeprune.model.raw import Part, Raw, Request, check_classes, stratified
from edgeprune.pictures import Frame, Images, is_grey, pixels
from edgeprune.progress import Tick

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
LAYOUT = "Expected: DATA/train/CLASS/*.jpg and DATA/test/CLASS/*.jpg (or val/)."
UNREADABLE_SHARE = 0.01
IN_MEMORY_BYTES = 2 << 30
CHUNK = 64
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on damaged files, by format."""


@dataclass(frozen=True)
class Listing:
    """Image files with their labels."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64]) -> Listing:
        return Listing(tuple(self.files[i] for i in indices), self.labels[indices])


def load_folders(root: Path, request: Request) -> Raw:
    """Read class folders.

    Raises:
        EdgepruneError: not laid out as expected, one class only, or more than 1 % of the images unreadable.

    """
    parts, classes = _list_parts(root)
    if "val" not in parts:
        rest, held = stratified(parts["train"].labels, request.val_share, request.seed, classes)
        parts = {**parts, "train": parts["train"].take(rest), "val": parts["train"].take(held)}
    order = [parts[name] for name in ("train", "val", "test")]
    files = [file for part in order for file in part.files]
    labels = np.concatenate([part.labels for part in order])
    grey, own = _survey(files, request.image_size)
    frame = frame_for(request.image_size, own)
    images = _room((len(files), 1 if grey else 3, frame.crop, frame.crop), request.scratch)
    good = _decode(files, images, frame, request.tick)
    skipped = tuple(str(file.relative_to(root)) for file, fine in zip(files, good, strict=True) if not fine)
    if len(skipped) > UNREADABLE_SHARE * len(files):
        raise EdgepruneError(
            f"{root}: {len(skipped)} of {len(files)} images cannot be read, the first is {skipped[0]}. "
            "Replace or remove them."
        )
    ends = np.cumsum([len(part.files) for part in order])
    counts = [int(part.sum()) for part in np.split(good, ends[:-1])]
    _close_gaps(images, good)
    labels = labels[good]
    cut = np.cumsum([0, *counts])
    train, val, test = (Part(images[a:b], labels[a:b]) for a, b in pairwise(cut))
    return Raw(train, val, test, classes, frame, "unknown" if grey else "photographs", skipped)


def _list_parts(root: Path) -> tuple[dict[str, Listing], tuple[str, ...]]:
    found = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if "train" not in found or len(found) < 2:
        lacking = "train/" if "train" not in found else "test/ or val/"
        raise EdgepruneError(f"{root}: has no {lacking}. {LAYOUT}")
    if "test" not in found:
        found["test"] = found.pop("val")
    names = {part: _class_names(folder) for part, folder in found.items()}
    check_classes(str(root), names)
    return {part: _list_classes(folder, names[part]) for part, folder in found.items()}, names["train"]


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise EdgepruneError(f"{folder}: holds no class folders. {LAYOUT}")
    return tuple(names)


def _list_classes(folder: Path, classes: tuple[str, ...]) -> Listing:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = sorted(_image_files(folder / name))
        if not inside:
            endings = ", ".join(sorted(ENDINGS))
            raise EdgepruneError(f"{folder / name}: holds no images ({endings}). Add some or remove the folder.")
        files += inside
        labels += [label] * len(inside)
    return Listing(tuple(files), np.array(labels, dtype=np.int64))


def _image_files(folder: Path) -> list[Path]:
    return [
        Path(where) / name
        for where, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS
    ]


def _survey(files: list[Path], image_size: int | None) -> tuple[bool, tuple[int, int] | None]:
    """Say whether all pictures are grey, and their common (height, width); reads headers while undecided."""
    grey, sizes = True, set[tuple[int, int]]()
    for file in files:
        try:
            with Image.open(file) as picture:
                grey = grey and is_grey(picture)
                sizes.add((picture.height, picture.width))
        except BROKEN:
            continue
        if not grey and (len(sizes) > 1 or (image_size is not None and sizes != {(image_size, image_size)})):
            break
    return grey, sizes.pop() if len(sizes) == 1 else None


def _room(shape: tuple[int, ...], scratch: Path | None) -> Images:
    """Make room for uint8 images: in memory, or in a file that vanishes with the process."""
    size = int(np.prod(shape))
    if scratch is None or size <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype=np.uint8)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as stream:
        try:
            # A full disk must fail here: writing to a mapping without blocks behind it kills the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise EdgepruneError(
                f"{scratch}: no room for {size / 1e9:.1f} GB of decoded images. Free some space."
            ) from None
        return np.memmap(stream, dtype=np.uint8, mode="r+", shape=shape)


def _decode(files: list[Path], into: Images, frame: Frame, tick: Tick) -> NDArray[np.bool_]:
    """Decode every file into its row; `False` for those that cannot be read."""
    good = np.zeros(len(files), dtype=bool)
    grey = into.shape[1] == 1

    def decode(start: int) -> int:
        chunk = files[start : start + CHUNK]
        for row, file in enumerate(chunk, start):
            try:
                with Image.open(file) as picture:
                    into[row] = pixels(picture, grey, frame)
                good[row] = True
            except BROKEN:
                continue
        return len(chunk)

    done = 0
    tick("reading images", 0, len(files))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for count in pool.map(decode, range(0, len(files), CHUNK)):
            done += count
            tick("reading images", done, len(files))
    return good


def _close_gaps(images: Images, good: NDArray[np.bool_]) -> None:
    for to, row in enumerate(np.flatnonzero(good)):
        if to != row:
            images[to] = images[row]
