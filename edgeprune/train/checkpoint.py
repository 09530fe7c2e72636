"""A training's state after an epoch, so that a killed run goes on where it stopped."""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


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
    partial = path.with_suffix(".partial")
    whole = io.BytesIO()  # as in model.traced.save: a full disk must come as an OSError
    torch.save(asdict(state), whole)
    partial.write_bytes(whole.getbuffer())
    os.replace(partial, path)


def read_state(path: Path) -> State | None:
    """Read the state, or None where there is none."""
    return State(**torch.load(path, weights_only=True)) if path.is_file() else None
