"""The masks that a stage left, for the stages after it."""

from __future__ import annotations

from edgeprune.pipeline.folder import Stage
from edgeprune.pruning.masks import Masks, load_masks
from edgeprune.train.hold import AfterStep, holding

MASKS = "masks.safetensors"


def masks_of(stage: Stage) -> Masks | None:
    """The masks of a `prune` stage; None where it cut channels."""
    path = stage.path / MASKS
    return load_masks(path) if path.is_file() else None


def after_step(stage: Stage) -> AfterStep | None:
    """What keeps a training from reviving what a `prune` stage masked."""
    masks = masks_of(stage)
    return holding(masks.kept) if masks is not None else None
