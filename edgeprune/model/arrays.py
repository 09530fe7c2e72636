"""Images that come as arrays: `.npz` files, the CIFAR binaries, and the built-in digits."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.model.images import frame_for
from edgeprune.model.raw import Part, Raw, Request, check_classes, stratified
from edgeprune.pictures import Frame, Images, fit
from edgeprune.progress import Tick

NPZ_KEYS = (
    {"train": ("x_train", "y_train"), "val": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {
        "train": ("train_images", "train_labels"),
        "val": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
)
CIFAR_SIDE = 32
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS_TEST_SHARE = 0.25


def load_npz(path: Path, request: Request) -> Raw:
    """Read `x_train`, `y_train`, `x_test`, `y_test` (or `train_images`, `train_labels`, ...; also `x_val`).

    Raises:
        EdgepruneError: not an npz file, without those arrays, or arrays that are no images and labels.

    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            held = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EdgepruneError(
            f"{path}: cannot be read as .npz without pickle ({error}). Save it with np.savez."
        ) from None
    for keys in NPZ_KEYS:
        parts = {part: pair for part, pair in keys.items() if part != "val" or set(pair) <= set(held)}
        if {key for pair in parts.values() for key in pair} <= set(held):
            return from_arrays(str(path), {part: (held[x], held[y]) for part, (x, y) in parts.items()}, request)
    raise EdgepruneError(
        f"{path}: holds {', '.join(sorted(held)) or 'nothing'}. "
        "Save x_train, y_train, x_test and y_test (or train_images, train_labels, ...)."
    )


def from_arrays(where: str, pairs: dict[str, tuple[Any, Any]], request: Request) -> Raw:
    """Make images `[N, C, H, W]` and labels 0, 1, ... of array pairs `train`, `test` and perhaps `val`.

    Any set of values may label; the classes are the values in order. Floats that hold whole numbers up to 255
    are pixels and become uint8; other floats stay as they are.
    """
    images = {part: _images(f"{where}: images of {part}", np.asarray(x)) for part, (x, _) in pairs.items()}
    values = {part: _labels(f"{where}: labels of {part}", np.asarray(y)) for part, (_, y) in pairs.items()}
    images = as_pixels(images)
    shapes = {(x.shape[1:], x.dtype.name) for x in images.values()}
    if len(shapes) > 1:
        told = " and ".join(sorted("x".join(map(str, shape)) + f" {kind}" for shape, kind in shapes))
        raise EdgepruneError(f"{where}: images of train and test differ ({told}). Give both alike.")
    for part, x in images.items():
        if len(x) != len(values[part]):
            raise EdgepruneError(f"{where}: {part} has {len(x)} images but {len(values[part])} labels. Give one each.")
    check_classes(where, {part: tuple(str(v) for v in np.unique(y)) for part, y in values.items()})
    known = np.unique(values["train"])
    (own, _), *_ = shapes
    frame = frame_for(request.image_size, own[1:])
    made = {
        part: Part(fit_all(x, frame, request.tick), np.searchsorted(known, values[part]).astype(np.int64))
        for part, x in images.items()
    }
    classes = tuple(str(value) for value in known)
    return Raw(made["train"], made.get("val"), made["test"], classes, frame, "unknown")


def as_pixels(images: dict[str, Images]) -> dict[str, Images]:
    """Turn floats into uint8 where all parts hold whole numbers in 0..255 and some exceed 1."""
    if any(x.dtype == np.uint8 for x in images.values()):
        return images
    whole = all(x.min() >= 0 and x.max() <= 255 and bool((x == np.rint(x)).all()) for x in images.values())
    if whole and max(x.max() for x in images.values()) > 1:
        return {part: x.astype(np.uint8) for part, x in images.items()}
    return images


def fit_all(images: Images, frame: Frame, tick: Tick) -> Images:
    """Bring all images `[N, C, H, W]` into the frame."""
    if images.shape[2:] == (frame.crop, frame.crop) and frame.resize_shorter_to == frame.crop:
        return images
    out = np.empty((*images.shape[:2], frame.crop, frame.crop), dtype=images.dtype)
    for row, image in enumerate(images):
        out[row] = fit(image, frame)
        if row % 500 == 0 or row == len(images) - 1:
            tick("resizing images", row + 1, len(images))
    return out


def _images(what: str, x: NDArray[Any]) -> Images:
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or 0 in x.shape:
        shape = "x".join(map(str, x.shape))
        raise EdgepruneError(f"{what} have shape {shape}. Give [N, H, W], [N, H, W, C] or [N, C, H, W].")
    # The channel axis is the one with few entries; the last wins, since that is how pictures are stored.
    if x.shape[-1] <= 4 < x.shape[1] or (x.shape[-1] <= 4 and x.shape[1] > x.shape[-1]):
        x = x.transpose(0, 3, 1, 2)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype == np.bool_ or not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise EdgepruneError(f"{what} are {x.dtype}. Give uint8 or float32.")
    out = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(out).all():
        raise EdgepruneError(f"{what} hold NaN or infinity. Remove those images.")
    return out


def _labels(what: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        shape = "x".join(map(str, y.shape))
        raise EdgepruneError(f"{what} have shape {shape}. Give one class per image, not one column per class.")
    if np.issubdtype(y.dtype, np.floating) and bool((y == np.rint(y)).all()):
        y = y.astype(np.int64)
    if not (np.issubdtype(y.dtype, np.integer) or y.dtype.kind == "U"):
        raise EdgepruneError(f"{what} are {y.dtype}. Give whole numbers or names.")
    return y


def cifar_files(folder: Path) -> dict[str, list[Path]] | None:
    """Find the CIFAR-10 or CIFAR-100 binaries, or `None` if the folder holds neither."""
    if (folder / "data_batch_1.bin").is_file():
        return {"train": sorted(folder.glob("data_batch_*.bin")), "test": [folder / "test_batch.bin"]}
    if (folder / "train.bin").is_file():
        return {"train": [folder / "train.bin"], "test": [folder / "test.bin"]}
    if (folder / "data_batch_1").is_file() or ((folder / "train").is_file() and (folder / "meta").is_file()):
        raise EdgepruneError(
            f"{folder}: holds CIFAR as Python pickles, which can run any code when read. "
            "Give the folder of the binary version (cifar-10-binary.tar.gz)."
        )
    return None


def load_cifar(folder: Path, files: dict[str, list[Path]], request: Request) -> Raw:
    """Read the binaries of CIFAR-10 (a label byte per image) or CIFAR-100 (coarse and fine; fine counts)."""
    hundred = (folder / "train.bin").is_file()
    pairs = {part: _records(paths, 2 if hundred else 1) for part, paths in files.items()}
    raw = from_arrays(str(folder), pairs, request)
    listed = folder / ("fine_label_names.txt" if hundred else "batches.meta.txt")
    names: tuple[str, ...] = () if hundred else CIFAR10_CLASSES
    if listed.is_file():
        names = tuple(listed.read_text(encoding="utf-8").split())
    if max(map(int, raw.classes)) < len(names):
        names = tuple(names[int(label)] for label in raw.classes)
    else:
        names = raw.classes
    return Raw(raw.train, raw.val, raw.test, names, raw.frame, "photographs")


def _records(paths: list[Path], label_bytes: int) -> tuple[Images, NDArray[np.int64]]:
    size = label_bytes + 3 * CIFAR_SIDE * CIFAR_SIDE
    read = []
    for path in paths:
        if not path.is_file():
            raise EdgepruneError(f"{path}: no such file. Unpack the whole CIFAR archive.")
        content = np.fromfile(path, dtype=np.uint8)
        if len(content) == 0 or len(content) % size:
            raise EdgepruneError(f"{path}: {len(content)} bytes are not CIFAR records of {size}. Download it again.")
        read.append(content.reshape(-1, size))
    records = np.concatenate(read)
    images = records[:, label_bytes:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    return images, records[:, label_bytes - 1].astype(np.int64)


def load_digits(request: Request) -> Raw:
    """scikit-learn's 1,797 handwritten digits, 8x8 in 17 greys; a fixed quarter is the test set."""
    from sklearn import datasets

    held = datasets.load_digits()
    images = np.rint(held.images * (255 / 16)).astype(np.uint8)
    labels = held.target.astype(np.int64)
    rest, test = stratified(labels, DIGITS_TEST_SHARE, 0, tuple("0123456789"))
    pairs = {"train": (images[rest], labels[rest]), "test": (images[test], labels[test])}
    return from_arrays("digits", pairs, request)
