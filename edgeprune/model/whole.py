"""Files of tensors that are there whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch


def write_whole(content: Any, path: Path) -> None:
    """Write what `torch.load(path, weights_only=True)` reads, by atomic rename."""
    partial, whole = path.with_suffix(".partial"), io.BytesIO()
    torch.save(content, whole)  # not into the file: torch's own writer ends the process where the disk is full
    partial.write_bytes(whole.getbuffer())
    os.replace(partial, path)
