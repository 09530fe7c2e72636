"""Trained weights, from `.safetensors` or a checkpoint of tensors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
PREFIX = "module."
"""What DataParallel puts before every name."""
OPTIONAL = "num_batches_tracked"
"""A counter that older checkpoints lack and that only a BatchNorm without momentum reads."""


def load_weights(module: nn.Module, path: Path, network: str) -> None:
    """Fill a module with the weights of a file; all of them must fit.

    Raises:
        EdgepruneError: the file cannot be read safely, or the first name or shape that does not fit.

    """
    weights = read_weights(path)
    want = module.state_dict()
    if mismatch := _first_mismatch(weights, want):
        raise EdgepruneError(f"{path}: does not fit {network}: {mismatch}. Give the weights of this very network.")
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise EdgepruneError(f"{path}: {name} holds NaN or infinity. Give another checkpoint.")
    module.load_state_dict(weights, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read names and tensors, without the wrappers that training scripts add."""
    if not path.is_file():
        raise EdgepruneError(f"{path}: no such file. Give a .safetensors file or a checkpoint.")
    stored = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    for wrapper in WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
            break
    if not isinstance(stored, Mapping) or not stored:
        raise EdgepruneError(f"{path}: holds {type(stored).__name__}, no weights. Save model.state_dict().")
    for name, value in stored.items():
        if not isinstance(value, Tensor):
            raise EdgepruneError(
                f"{path}: {name!r} is {type(value).__name__}, not a tensor. Save model.state_dict() alone."
            )
    prefixed = all(str(name).startswith(PREFIX) for name in stored)
    return {str(name)[len(PREFIX) if prefixed else 0 :]: value for name, value in stored.items()}


def _read_safetensors(path: Path) -> object:
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise EdgepruneError(f"{path}: not a readable safetensors file ({error}). Copy or save it again.") from None
    return weights


def _read_checkpoint(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it needs {named[1]}" if named else "it holds more than tensors"
        raise EdgepruneError(
            f"{path}: refused, since {reason} and a pickle that needs more than tensors can run any code. "
            "Where you trust it, load it yourself and torch.save(model.state_dict(), ...)."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise EdgepruneError(f"{path}: not a readable checkpoint ({reason}). Copy or save it again.") from None


def _first_mismatch(have: dict[str, Tensor], want: dict[str, Tensor]) -> str | None:
    extra = next((name for name in have if name not in want), None)
    for name, tensor in want.items():
        if name not in have:
            if name.endswith(OPTIONAL):
                continue
            return f"{name} is missing" + (f" (the file has {extra})" if extra else "")
        if have[name].shape != tensor.shape:
            return f"{name} is {_shape(have[name])}, not {_shape(tensor)}"
    return f"{extra} is unexpected" if extra else None


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
