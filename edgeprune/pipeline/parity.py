"""The parity gate: the same accuracy at every hop from the trained network to the file that ships."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgeprune.engine.ort import open_model
from edgeprune.errors import EdgepruneError
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.parity import compare_codes
from edgeprune.model.batches import sample
from edgeprune.model.traced import Traced
from edgeprune.pipeline.steps import Work

IMAGES, GOLDEN = 1000, 8
"""Validation images whose classes are compared, and of those the ones whose codes are."""
MOST, ERRORS = 0.001, 3.0
"""A tenth of a point; more is let pass only within so many standard errors of what images change sides at random."""
BATCH = 50


@dataclass(frozen=True)
class Hop:
    """From `before` to `after`: shares of images that are right, and standard error of their difference."""

    before: str
    after: str
    accuracies: tuple[float, float]
    standard_error: float

    @property
    def holds(self) -> bool:
        moved = abs(self.accuracies[0] - self.accuracies[1])
        return moved <= MOST + 1e-9 or moved <= ERRORS * self.standard_error


def check_parity(work: Work, final: Traced, shipped: Path) -> list[str]:
    """Compare the network, its ONNX and the lowered ONNX on validation images; returns the lines for the report.

    Raises:
        EdgepruneError: a hop loses accuracy, or a code differs that the lowering says is the same.
    """
    x, y = sample(work.data.val, work.data.preprocessing, IMAGES, work.recipe.seed)
    images, labels = x.numpy(), y.numpy()
    plain = to_onnx(final, work.target.opset.value)
    path = shipped.with_name("plain.onnx")
    try:
        onnx.save(plain, path)
        runs: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
            "torch": lambda part: final.module(torch.from_numpy(part)).detach().numpy(),
            "ONNX": open_model(path, simulate=True).run,
            "lowered ONNX": open_model(shipped, exact=True, simulate=work.target.runtime == "tensorrt").run,
        }
        right = {}
        for done, (name, run) in enumerate(runs.items()):
            work.tick("comparing the hops", done, len(runs))
            parts = [run(images[i : i + BATCH]).argmax(-1) for i in range(0, len(images), BATCH)]
            right[name] = np.concatenate(parts) == labels
    finally:
        path.unlink(missing_ok=True)
    for before, after in itertools.pairwise(right):
        hop = _hop(before, after, right[before], right[after])
        if not hop.holds:
            raise EdgepruneError(
                f"{after} is right for {hop.accuracies[1]:.4f} of {len(images)} validation images, {before} for "
                f"{hop.accuracies[0]:.4f}: the export changed the network. Report it with the model."
            )
    codes = compare_codes(plain, onnx.load(shipped), images[:GOLDEN])
    if codes.differing:
        raise EdgepruneError(
            f"{codes.differing} of {codes.compared} codes differ between the network and its lowering. "
            "Report it with the model."
        )
    shares = ", ".join(f"{name} {100 * float(own.mean()):.2f}" for name, own in right.items())
    return [f"parity on {len(images)} validation images: {shares} %; {codes.compared} codes compared, 0 differ"]


def _hop(before: str, after: str, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Hop:
    """The error is that of paired shares: only images that change sides count (McNemar 1947)."""
    changed = int(np.count_nonzero(one != other))
    return Hop(before, after, (float(one.mean()), float(other.mean())), math.sqrt(changed) / len(one))
