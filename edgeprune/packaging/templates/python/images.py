"""From an image to the network's input, bit for bit as the images of the training were prepared (Pillow's BILINEAR)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

WEIGHT_BITS = 22
BLANK = rb"(?:\s|#[^\n]*\n)+"
NETPBM = re.compile(rb"P([56])" + BLANK + rb"(\d+)" + BLANK + rb"(\d+)" + BLANK + rb"(\d+)\s")


def read_image(path: Path) -> np.ndarray:
    """Read an image as uint8 [height, width, channels]: PPM and PGM here, anything else where Pillow is installed."""
    content = path.read_bytes()
    if content[:2] not in (b"P5", b"P6"):
        from PIL import Image

        with Image.open(path) as picture:
            wide = picture.mode.startswith("I;16")  # Pillow would clip 16 bits to 255 instead of scaling them
            grey = wide or picture.mode in ("1", "L", "LA")
            pixels = np.asarray(picture if wide else picture.convert("L" if grey else "RGB"))
            pixels = (pixels.astype(np.uint16) >> 8).astype(np.uint8) if wide else pixels
        return pixels[..., None] if grey else pixels
    header = NETPBM.match(content)
    if header is None or int(header[4]) != 255:
        raise ValueError(f"{path}: no PPM or PGM of 8 bits. Convert it.")
    channels, width, height = (3 if header[1] == b"6" else 1), int(header[2]), int(header[3])
    if len(content) - header.end() < width * height * channels:
        raise ValueError(f"{path}: cut short. Copy it again.")
    pixels = np.frombuffer(content, np.uint8, height * width * channels, header.end())
    return pixels.reshape(height, width, channels)


def network_input(image: np.ndarray, wanted: dict[str, Any]) -> np.ndarray:
    """Turn uint8 [height, width, 3 or 1] into float32 [channels, crop, crop]; `wanted` is the manifest's."""
    if wanted["channels"] == "any":
        raise ValueError("this network takes no images. Give run() the tensors that it was trained on.")
    image = _channels(image, wanted["channels"])
    height, width = image.shape[:2]
    shorter, goal, crop = min(width, height), wanted["resize_shorter_to"], wanted["crop"]
    if shorter != goal:
        scale = goal / shorter
        width, height = max(goal, round(width * scale)), max(goal, round(height * scale))
        image = _resize(_resize(image, 1, width), 0, height)
    left, top = (width - crop) // 2, (height - crop) // 2
    planes = image[top : top + crop, left : left + crop].transpose(2, 0, 1).astype(np.float32)
    mean, std = (np.array(wanted[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
    return (planes / np.float32(255) - mean) / std


def _channels(image: np.ndarray, wanted: str) -> np.ndarray:
    if wanted == "RGB":
        return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
    if image.shape[2] == 1:
        return image
    # ITU-R BT.601 in 16 bits.
    return ((image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000) >> 16).astype(np.uint8)[
        ..., None
    ]


def _resize(image: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Resize along one axis: a triangle of one output pixel to each side, its weights rounded to 22 bits."""
    length = image.shape[axis]
    if length == size:
        return image
    scale = length / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum(0, (centre - reach + 0.5).astype(np.int64))
    last = np.minimum(length, (centre + reach + 0.5).astype(np.int64))
    taps = np.arange(math.ceil(reach) * 2 + 1)
    inside = taps < (last - first)[:, None]
    weights = np.maximum(0.0, 1.0 - np.abs((first[:, None] + taps - centre[:, None] + 0.5) * (1.0 / reach))) * inside
    # cumsum adds in order, as a loop would; sum would add in pairs and round otherwise.
    whole = (0.5 + weights / np.cumsum(weights, axis=1)[:, -1:] * (1 << WEIGHT_BITS)).astype(np.int32) * inside
    across = [1, 1, 1]
    across[axis] = size
    total = np.full([size if a == axis else n for a, n in enumerate(image.shape)], 1 << (WEIGHT_BITS - 1), np.int32)
    for tap in taps:
        pixels = image.take(np.minimum(first + tap, length - 1), axis=axis)
        total += pixels * whole[:, tap].astype(np.int32).reshape(across)
    return np.minimum(total >> WEIGHT_BITS, 255).astype(np.uint8)
