"""Where the compressing itself runs."""

from __future__ import annotations

import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced


def pick_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device; `auto` takes a CUDA device where torch finds one.

    Raises:
        EdgepruneError: `cuda` was asked for and torch finds none.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise EdgepruneError("torch finds no CUDA device here. Use --device cpu, or install a CUDA build of torch.")
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def move(traced: Traced, device: torch.device) -> Traced:
    """Move a network's parameters and buffers, in place; returns it."""
    traced.module.to(device)
    return traced


def device_of(traced: Traced) -> torch.device:
    return next(traced.module.parameters()).device
