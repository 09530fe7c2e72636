"""Images from a function of the user's own.

The function returns `(train, test)`. Each is an `(images, labels)` pair of arrays, or a sequence of
`(image, label)` where the image is a PIL picture, a uint8 array `[H, W, C]` or `[H, W]`, a uint8 tensor
`[C, H, W]`, or a float array or tensor `[C, H, W]` that is already normalised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgeprune.errors import EdgepruneError
from edgeprune.model.arrays import from_arrays
from edgeprune.model.images import frame_for
from edgeprune.model.raw import Raw, Request
from edgeprune.model.user_code import call, failure
from edgeprune.pictures import Frame, Images, fit, is_grey, pixels

SHAPE = "Return (train, test), each a sequence of (image, label) or a pair of arrays (images, labels)."


def load_function(reference: str, request: Request) -> Raw:
    """Call `file.py:function` and take what it returns.

    Raises:
        EdgepruneError: it fails, or returns something else.

    """
    returned = call(reference, {})
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise EdgepruneError(f"{reference}: returned {type(returned).__name__}{size}. {SHAPE}")
    named = dict(zip(("train", "test"), returned, strict=True))
    if all(_is_array_pair(part) for part in named.values()):
        return from_arrays(reference, {name: (_array(x), _array(y)) for name, (x, y) in named.items()}, request)
    images: dict[str, list[Any]] = {}
    labels: dict[str, list[Any]] = {}
    for name, part in named.items():
        images[name], labels[name] = _collect(f"{reference}: {name}", part, request)
    frame, stacked = _stack(reference, images, request)
    # The images are in their frame already, so the size of the second request is theirs.
    done = Request(frame.crop, request.val_share, request.seed, request.tick, request.scratch)
    raw = from_arrays(reference, {name: (stacked[name], np.asarray(labels[name])) for name in named}, done)
    return Raw(raw.train, raw.val, raw.test, raw.classes, frame, raw.kind)


def _is_array_pair(part: Any) -> bool:
    """Tell `(images, labels)` from a sequence of two `(image, label)`: there the second element is a pair."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    images, labels = part
    if isinstance(labels, list):
        return isinstance(images, np.ndarray | torch.Tensor | list) and all(np.isscalar(v) for v in labels)
    return isinstance(images, np.ndarray | torch.Tensor | list) and isinstance(labels, np.ndarray | torch.Tensor)


def _array(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def _collect(what: str, part: Any, request: Request) -> tuple[list[Any], list[Any]]:
    images: list[Any] = []
    labels: list[Any] = []
    total = len(part) if hasattr(part, "__len__") else 0
    for pair in _elements(what, part):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            kind = type(pair).__name__
            raise EdgepruneError(f"{what}: element {len(images)} is {kind}, not (image, label). {SHAPE}")
        image, label = pair
        images.append(image if isinstance(image, Image.Image) else _plane_first(what, image))
        labels.append(_label(what, label))
        if len(images) % 500 == 0 or len(images) == total:
            request.tick("reading images", len(images), max(total, len(images)))
    if not images:
        raise EdgepruneError(f"{what}: holds no images. {SHAPE}")
    return images, labels


def _elements(what: str, part: Any) -> Iterator[Any]:
    if not hasattr(part, "__getitem__") and not hasattr(part, "__iter__"):
        raise EdgepruneError(f"{what}: is {type(part).__name__}. {SHAPE}")
    try:
        if hasattr(part, "__len__") and hasattr(part, "__getitem__"):
            # Map-style datasets need not stop iterating by themselves.
            for i in range(len(part)):
                yield part[i]
        else:
            yield from part
    except Exception as error:
        raise failure(f"{what} failed", error) from error


def _label(what: str, label: Any) -> int | str:
    if isinstance(label, str):
        return label
    try:
        return int(label)
    except (TypeError, ValueError, RuntimeError):
        kind = type(label).__name__
        raise EdgepruneError(f"{what}: a label is {kind}. Give a whole number or a name for each image.") from None


def _plane_first(what: str, image: Any) -> Images:
    x = np.asarray(_array(image))
    if x.ndim == 2:
        x = x[None]
    elif x.ndim == 3 and x.dtype == np.uint8 and not isinstance(image, torch.Tensor):
        x = x.transpose(2, 0, 1)
    if x.ndim != 3 or not (x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating)):
        shape = "x".join(map(str, x.shape)) or "no shape"
        raise EdgepruneError(f"{what}: an image is {type(image).__name__} of {x.dtype}, {shape}. {SHAPE}")
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _stack(where: str, images: dict[str, list[Any]], request: Request) -> tuple[Frame, dict[str, Images]]:
    every = [image for part in images.values() for image in part]
    kinds = {"picture" if isinstance(x, Image.Image) else f"{x.dtype} of {len(x)} channels" for x in every}
    if len(kinds) > 1:
        raise EdgepruneError(f"{where}: images are of several kinds ({', '.join(sorted(kinds))}). Give all alike.")
    pictures = isinstance(every[0], Image.Image)
    sizes = {(x.height, x.width) if pictures else x.shape[1:] for x in every}
    frame = frame_for(request.image_size, sizes.pop() if len(sizes) == 1 else None)
    if pictures:
        grey = all(is_grey(x) for x in every)
        return frame, {part: np.stack([pixels(x, grey, frame) for x in images[part]]) for part in images}
    return frame, {part: np.stack([fit(x, frame) for x in images[part]]) for part in images}
