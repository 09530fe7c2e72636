"""Raw: what a data source hands on, before it is split and described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.pictures import Frame, Images
from edgeprune.progress import Tick


@dataclass(frozen=True)
class Request:
    """What a source must know besides its name. `scratch`: a folder for what does not fit in memory."""

    image_size: int | None
    val_share: float
    seed: int
    tick: Tick
    scratch: Path | None


@dataclass(frozen=True)
class Part:
    images: Images
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Raw:
    """`val` is `None` where the source has no validation images of its own."""

    train: Part
    val: Part | None
    test: Part
    classes: tuple[str, ...]
    frame: Frame
    kind: Literal["photographs", "unknown"]
    skipped: tuple[str, ...] = ()


def stratified(
    labels: NDArray[np.int64], share: float, seed: int, classes: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices of the rest and of the `share` drawn from every class, at least one each.

    Raises:
        EdgepruneError: a class has fewer than two images.

    """
    generator = np.random.default_rng(seed)
    drawn = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise EdgepruneError(
                f"class {name!r} has {len(members)} training images; at least 2 are needed, "
                "one of them for validation. Add images or remove the class."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        drawn.append(generator.permutation(members)[:count])
    held = np.sort(np.concatenate(drawn))
    rest = np.setdiff1d(np.arange(len(labels)), held, assume_unique=True)
    return rest, held


def check_classes(where: str, sets: dict[str, tuple[str, ...]]) -> None:
    """Refuse one class only, and parts (`train`, `test`, `val`) of different classes.

    Raises:
        EdgepruneError: names the class that one part lacks.

    """
    train = sets["train"]
    for part, names in sets.items():
        if lacking := sorted(set(train) - set(names)):
            raise EdgepruneError(f"{where}: {part} lacks class {lacking[0]!r} of train. Make their classes the same.")
        if extra := sorted(set(names) - set(train)):
            raise EdgepruneError(f"{where}: {part} has class {extra[0]!r}, train has not. Make their classes the same.")
    if len(train) < 2:
        raise EdgepruneError(f"{where}: only one class ({train[0]!r}). Give at least two classes.")
