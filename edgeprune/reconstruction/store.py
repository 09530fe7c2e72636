"""Activations of calibration images within a memory limit; what does not fit lies on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only


class Store:
    """Values by key, each a mapping of names to tensors, numbers or lists of them. They are kept off the accelerator.

    Args:
        memory_mb: megabytes (1e6 bytes) that tensors may take in memory.
    """

    def __init__(self, memory_mb: float) -> None:
        self._limit, self._bytes = memory_mb * 1e6, dict[str, int]()
        self._held: dict[str, Mapping[str, Any]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.spilled = 0
        """Bytes that were written to disk so far."""

    def put(self, key: str, values: Mapping[str, Any]) -> None:
        """Keep values under a key, instead of what is there."""
        self.drop(key)
        values = tree_map_only(Tensor, lambda tensor: tensor.detach().cpu(), dict(values))
        # Tensors that share memory, as views do, count each; that errs on the safe side.
        size = sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
        if sum(self._bytes.values()) + size <= self._limit:
            self._held[key], self._bytes[key] = values, size
            return
        # A view would be written with all that it is a view of.
        torch.save(tree_map_only(Tensor, Tensor.clone, values), self._file(key))
        self.spilled += size

    def get(self, key: str, device: torch.device) -> dict[str, Any]:
        """The values under a key, on a device."""
        values = self._held.get(key)
        if values is None:
            values = torch.load(self._file(key), weights_only=True)
        found: dict[str, Any] = tree_map_only(Tensor, lambda tensor: tensor.to(device), dict(values))
        return found

    def drop(self, key: str) -> None:
        """Forget what is under a key."""
        self._held.pop(key, None)
        self._bytes.pop(key, None)
        if self._folder is not None:
            self._file(key).unlink(missing_ok=True)

    def close(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._bytes.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _file(self, key: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="edgeprune-", dir=os.environ.get("TMPDIR"))
        return Path(self._folder.name) / f"{key}.pt"
