"""From a picture to pixels: resize the shorter side, crop the centre, channels first; on the host as on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images: TypeAlias = NDArray[Any]
"""`[N, C, H, W]` or one image `[C, H, W]`, uint8 or float32."""

GREY_MODES = {"1", "L", "LA", "I;16", "I;16B", "I;16L"}


@dataclass(frozen=True)
class Frame:
    """The shorter side is brought to `resize_shorter_to` pixels, then the centre `crop` x `crop` is kept."""

    resize_shorter_to: int
    crop: int


def is_grey(picture: Image.Image) -> bool:
    return picture.mode in GREY_MODES


def pixels(picture: Image.Image, grey: bool, frame: Frame) -> NDArray[np.uint8]:
    """Return a picture as uint8 `[1 or 3, crop, crop]`, bilinear with antialiasing, without transparency."""
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion would clip 16 bits to 255 instead of scaling them.
        picture = Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    mode = "L" if grey else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    plane = np.asarray(_fit(picture, frame))
    return plane[None] if grey else plane.transpose(2, 0, 1)


def fit(image: Images, frame: Frame) -> Images:
    """Bring one uint8 or float32 image `[C, H, W]` into the frame, plane by plane."""
    if image.shape[1:] == (frame.crop, frame.crop) and frame.resize_shorter_to == frame.crop:
        return image
    return np.stack([np.asarray(_fit(Image.fromarray(plane), frame)) for plane in image])


def _fit(picture: Image.Image, frame: Frame) -> Image.Image:
    width, height = picture.size
    shorter = min(width, height)
    if shorter != frame.resize_shorter_to:
        scale = frame.resize_shorter_to / shorter
        width = max(frame.resize_shorter_to, round(width * scale))
        height = max(frame.resize_shorter_to, round(height * scale))
        # One axis after the other, rows first: Pillow's versions choose orders that differ in a rounding.
        for size in ((width, picture.height), (width, height)):
            picture = picture.resize(size, Image.Resampling.BILINEAR)
    if (width, height) != (frame.crop, frame.crop):
        left, top = (width - frame.crop) // 2, (height - frame.crop) // 2
        picture = picture.crop((left, top, left + frame.crop, top + frame.crop))
    return picture
