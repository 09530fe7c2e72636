"""What an agent sees of the parts: facts that do not change during a search, each scaled to 0..1 over the parts."""

from __future__ import annotations

import math

import numpy as np

from edgeprune.allocation.parts import Lot, Part
from edgeprune.pruning.quantity import Floats


def static_features(lot: Lot, base: Floats) -> Floats:
    """`[parts, features + parts]`: the facts, then which part it is."""
    rows = np.array([_facts(part, logit) for part, logit in zip(lot.parts, base, strict=True)])
    low, high = rows.min(0), rows.max(0)
    scaled = (rows - low) / np.where(high > low, high - low, 1.0)
    found: Floats = np.hstack([scaled, np.linspace(0, 1, len(rows))[:, None], np.eye(len(rows))])
    return found


def _facts(part: Part, logit: float) -> list[float]:
    """Type, sizes, fan-in and fan-out, moments of the scores, and what the base keeps."""
    first = part.shapes[0]
    scores = np.log(np.maximum(part.scores, np.finfo(np.float64).tiny))
    weights = sum(math.prod(shape) for shape in part.shapes)
    return [
        float(len(first) > 2),  # a convolution
        float(len(first) > 2 and first[1] == 1),  # a depthwise one
        math.log(weights),
        math.log(1 + part.macs),
        math.log(math.prod(first[1:])),
        math.log(first[0]),
        math.log(math.prod(first[2:])),
        float(len(part.shapes)),
        float(scores.mean()),
        float(scores.std()),
        part.least / part.units,
        logit,
    ]
