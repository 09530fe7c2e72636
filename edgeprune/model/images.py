"""Which frame a data set's pictures are brought into."""

from __future__ import annotations

from edgeprune.pictures import Frame

PHOTOGRAPH_SIDE = 224
SMALL_SIDE = 128
"""Below this a margin would cost more picture than it removes of the border."""


def frame_for(image_size: int | None, own: tuple[int, int] | None) -> Frame:
    """Choose the frame; `own` is the (height, width) that all images share, `None` if they differ.

    Images that already have the wanted size are left alone. Larger inputs get ImageNet's margin (256 to 224).
    """
    if image_size is None:
        image_size = PHOTOGRAPH_SIDE if own is None else min(own)
        if own is not None:
            return Frame(image_size, image_size)
    if own == (image_size, image_size) or image_size < SMALL_SIDE:
        return Frame(image_size, image_size)
    return Frame(round(image_size * 256 / 224), image_size)
