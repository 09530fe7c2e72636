"""A recipe of the tiny network, whose chain takes seconds."""

from __future__ import annotations

from pathlib import Path

from edgeprune.spec.methods import Curving
from edgeprune.spec.recipe import Recipe, Source, Training
from tests import tiny


def recipe(folder: Path, epochs: int, **more: object) -> Recipe:
    """Write the network and its images into a folder; `epochs`: of fine-tuning."""
    tiny.write_net(folder)
    tiny.write_npz(folder / "data.npz")
    source = Source(model=f"{folder / 'net.py'}:build", data=str(folder / "data.npz"))
    training = Training(epochs=epochs, qat_epochs=1, dense_epochs=2 + (epochs == 0), batch_size=16)
    given = {"target": "cpu-x86-avx2", "training": training, "curvature": Curving(probes=2)} | more
    return Recipe(source=source, **given)
