"""A training's state after an epoch, so that a killed run goes on where it stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from edgeprune.model.whole import write_whole


@dataclass
class State:
    """What the next epoch depends on, and what the end will choose from."""

    epoch: int
    weights: dict[str, Any]
    optimizer: dict[str, Any]
    best_weights: dict[str, Any]
    best_accuracy: float
    history: list[dict[str, float]]


def write_state(state: State, path: Path) -> None:
    """Write by atomic rename."""
    write_whole(asdict(state), path)


def read_state(path: Path) -> State | None:
    """Read the state, or None where there is none."""
    return State(**torch.load(path, weights_only=True)) if path.is_file() else None
