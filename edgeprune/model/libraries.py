"""Networks of timm and torchvision, named `timm:NAME` and `torchvision:NAME`; their weights are random.

Nothing is downloaded: trained weights come as a file, like those of any other network.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.quiet import quiet
from edgeprune.model.user_code import failure

OPERATORS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""What `import torchvision` expects its compiled part to have defined; no classifier calls them."""


@dataclass(frozen=True)
class _Library:
    """What a library is asked: `names`, `side` (of the images a network was made for), and `build`."""

    names: Callable[[], list[str]]
    side: Callable[[str], int]
    build: Callable[[str, int, int, int], Any]


def in_library(model: str) -> bool:
    """Say whether MODEL has the form `timm:NAME` or `torchvision:NAME`."""
    return model.partition(":")[0] in LIBRARIES and ":" in model


def library_image_size(model: str) -> int:
    """Side of the images that a library's network was made for.

    Raises:
        EdgepruneError: the library is not installed, or has no such network.
    """
    library, name = _find(model)
    return library.side(name)


def build_from_library(model: str, classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Build a library's network with random weights.

    Raises:
        EdgepruneError: the library is not installed, has no such network, or cannot build it like this.
    """
    library, name = _find(model)
    try:
        with quiet():
            built = library.build(name, classes, in_channels, image_size)
    except EdgepruneError:
        raise
    except Exception as error:
        raise failure(f"{model} cannot be built", error) from error
    if not isinstance(built, nn.Module):
        raise EdgepruneError(f"{model}: is {type(built).__name__}, no network. Name a classification network.")
    return built


def _find(model: str) -> tuple[_Library, str]:
    kind, _, name = model.partition(":")
    library = LIBRARIES[kind]
    names = library.names()
    if name.partition(".")[0] not in names:
        close = get_close_matches(name, names, n=5)
        hint = f"Close: {', '.join(close)}." if close else f"It has {len(names)} networks, as {kind}:{names[0]}."
        raise EdgepruneError(f"{model}: {kind} has no network {name!r}. {hint}")
    return library, name


def import_library(name: str) -> ModuleType:
    """Import a library, also where torchvision's compiled part does not load (its CUDA build beside torch for CPUs).

    Raises:
        EdgepruneError: it is not installed, or fails.
    """
    try:
        with quiet():
            return _import_here(name)
    except ModuleNotFoundError as error:
        lacking = error.name or name
        raise EdgepruneError(f"{name} networks need {lacking}. Install it: pip install {lacking}.") from None
    except Exception as error:
        raise failure(f"{name} cannot be imported", error) from error


def _import_here(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for operator, schema in OPERATORS.items():
        torch.library.define(operator, schema)
    for module in [m for m in sys.modules if m.partition(".")[0] in {name, "torchvision"}]:
        del sys.modules[module]  # what the failed import left
    return importlib.import_module(name)


def _timm_names() -> list[str]:
    return list(import_library("timm").list_models())


def _timm_settings(name: str) -> Any:
    return import_library("timm").get_pretrained_cfg(name)


def _timm_side(name: str) -> int:
    settings = _timm_settings(name)
    return int(settings.input_size[-1]) if settings is not None else 224


def _timm_build(name: str, classes: int, in_channels: int, image_size: int) -> Any:
    settings = _timm_settings(name)
    # Position tables and windows are made for one size; the other networks take any, and no such argument.
    fixed = settings is not None and settings.fixed_input_size and settings.input_size[-1] != image_size
    sized = {"img_size": image_size} if fixed else {}
    return import_library("timm").create_model(
        name, pretrained=False, num_classes=classes, in_chans=in_channels, **sized
    )


def _torchvision_models() -> Any:
    import_library("torchvision")
    return importlib.import_module("torchvision.models")


def _torchvision_names() -> list[str]:
    models = _torchvision_models()
    return list(models.list_models(module=models))


def _torchvision_side(name: str) -> int:
    # The enum of a network's weights says how their images are cut; reading it loads none.
    weights = _torchvision_models().get_model_weights(name).DEFAULT
    return int(weights.transforms.keywords["crop_size"])


def _torchvision_build(name: str, classes: int, in_channels: int, image_size: int) -> Any:
    if in_channels != 3:
        raise EdgepruneError(
            f"torchvision:{name} takes images of 3 channels, the data have {in_channels}. "
            "Convert the images, or take a network of timm."
        )
    # As with timm: a transformer's position table is made for one size.
    sized = {"image_size": image_size} if name.startswith("vit_") else {}
    return _torchvision_models().get_model(name, weights=None, num_classes=classes, **sized)


LIBRARIES = {
    "timm": _Library(_timm_names, _timm_side, _timm_build),
    "torchvision": _Library(_torchvision_names, _torchvision_side, _torchvision_build),
}
