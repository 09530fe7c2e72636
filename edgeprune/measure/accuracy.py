"""Accuracy of the shipped file on the machine that runs it, from image files on, by the bundle's own preprocessing."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.runner import Runner
from edgeprune.errors import EdgepruneError
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import Bundle, Preprocessing
from edgeprune.spec.profile import DeviceAccuracy

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 32
UNREADABLE_SHARE = 0.01


@dataclass(frozen=True)
class Labelled:
    """Image files with the rows of the network's output that stand for their classes."""

    root: Path
    files: tuple[Path, ...]
    labels: NDArray[np.int64]

    @property
    def sha256(self) -> str:
        """Of the files' names and sizes: enough to tell one set from another."""
        lines = (f"{file.relative_to(self.root)} {file.stat().st_size}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_images(root: Path, bundle: Bundle) -> Labelled:
    """List `ROOT/CLASS/*.jpg`, or `ROOT/test/CLASS` and `ROOT/val/CLASS` where there is such a folder.

    Raises:
        EdgepruneError: no such folder, a class that the bundle does not know, no images; no Pillow to read them with.
    """
    _pillow()
    if bundle.manifest.preprocessing.channels == "any":
        raise EdgepruneError(f"{bundle.path}: its network was trained on arrays, so there are no pictures for --data.")
    names = bundle.labels
    root = next((root / part for part in ("test", "val") if (root / part).is_dir()), root)
    if not root.is_dir():
        raise EdgepruneError(f"{root}: no such folder. Give one of class folders, as TEST/cat/*.jpg.")
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    unknown = [folder.name for folder in folders if folder.name not in names]
    if unknown or not folders:
        what = f"{unknown[0]!r} is none of the bundle's classes" if unknown else "holds no class folders"
        known = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise EdgepruneError(f"{root}: {what} ({known}). Name the folders as labels.txt does.")
    found = [(file, names.index(folder.name)) for folder in folders for file in sorted(_images(folder))]
    if not found:
        raise EdgepruneError(f"{root}: holds no images ({', '.join(ENDINGS)}).")
    files, labels = zip(*found, strict=True)
    return Labelled(root, files, np.array(labels, dtype=np.int64))


def measure_accuracy(bundle: Bundle, runner: Runner, images: Labelled, tick: Tick = silent) -> DeviceAccuracy:
    """Run every image through the shipped file.

    Raises:
        EdgepruneError: more than 1 % of the files cannot be read, outputs that are not finite, or no Pillow.
    """
    right = seen = skipped = 0
    for x, labels, unread in _batches(images, bundle.manifest.preprocessing):
        skipped += unread
        if skipped > UNREADABLE_SHARE * len(images.files):
            raise EdgepruneError(f"{images.root}: {skipped} images or more cannot be read. Replace or remove them.")
        if len(x):
            answers = runner.run(x)
            if not np.isfinite(answers).all():
                raise EdgepruneError(f"{bundle.path}: {runner.runtime} puts out NaN or infinity. Export it again.")
            right += int((answers.reshape(len(x), -1).argmax(1) == labels).sum())
        seen += len(x)
        tick("judging images", seen + skipped, len(images.files))
    share = right / max(seen, 1)
    return DeviceAccuracy(
        value=share,
        standard_error=(share * (1 - share) / max(seen, 1)) ** 0.5,
        count=seen,
        skipped=skipped,
        data=images.root.name,
        data_sha256=images.sha256,
    )


def prepared(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """From uint8 `[N, C, H, W]` to what the network takes: scaled to 0..1, then normalised per channel."""
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (how.mean, how.std))
    found: NDArray[np.float32] = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return found


def _batches(images: Labelled, how: Preprocessing) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], int]]:
    """Inputs `[n, C, H, W]`, labels `[n]`, and how many files of the batch could not be read."""
    image, pictures = _pillow()
    frame = pictures.Frame(how.resize_shorter_to, how.crop)
    broken = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, image.DecompressionBombError)
    for start in range(0, len(images.files), BATCH):
        rows, labels = [], []
        files = images.files[start : start + BATCH]
        for file, label in zip(files, images.labels[start : start + BATCH], strict=True):
            try:
                with image.open(file) as picture:
                    rows.append(pictures.pixels(picture, how.channels == "L", frame))
                labels.append(label)
            except broken:
                continue
        stacked = np.stack(rows) if rows else np.empty((0, len(how.mean), how.crop, how.crop), np.uint8)
        yield prepared(stacked, how), np.array(labels, np.int64), len(files) - len(rows)


def _images(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(".") and name.lower().endswith(ENDINGS):
                yield Path(where) / name


def _pillow() -> tuple[Any, Any]:
    """Pillow and what uses it: the device half does without, unless it reads pictures.

    Raises:
        EdgepruneError: it is not installed.
    """
    try:
        import PIL.Image

        from edgeprune import pictures
    except ModuleNotFoundError:
        raise EdgepruneError("--data reads pictures with Pillow, which is not installed. pip install pillow") from None
    return PIL.Image, pictures
