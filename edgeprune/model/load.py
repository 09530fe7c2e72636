"""From MODEL on the command line to a `Traced` network with its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.constants import fold_constants
from edgeprune.model.libraries import LIBRARIES, build_from_library, in_library, library_image_size
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, load, trace
from edgeprune.model.user_code import call, functions_in, is_reference
from edgeprune.model.weights import load_weights
from edgeprune.spec.recipe import Source

IMAGENET_CLASSES, IMAGENET_SIDE, RGB = 1000, 224, 3
"""What is assumed where neither the user nor the network says."""


def default_image_size(model: str) -> int | None:
    """Side of the input that a network was made for; `None` where only the user knows."""
    if model in NETWORKS:
        return NETWORKS[model].image_size
    if model.endswith(".pt2"):
        return load(_existing(model)).input_shape[-1]
    return library_image_size(model) if in_library(model) else None


def starts_random(model: str) -> bool:
    """Whether a network comes without trained weights of its own, which functions and `.pt2` files may bring."""
    return model in NETWORKS or in_library(model)


def open_model(source: Source, classes: int, in_channels: int, image_size: int, seed: int = 0) -> Traced:
    """Open `source.model` with `source.weights`, in eval mode, on the CPU, in float32.

    Args:
        source: MODEL is a built-in name, `timm:NAME`, `torchvision:NAME`, `file.py:function`,
            `package.module:function` or a `.pt2`.
        classes: outputs that the data ask for; given to functions that take `num_classes`.
        in_channels: of the images.
        image_size: side of the images.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        EdgepruneError: no such model, it fails, or it does not fit the data or the weights.

    """
    traced = open_network(source, classes, in_channels, image_size, seed)
    _check_outputs(traced, source.model, classes)
    return traced


def open_network(
    source: Source, classes: int | None, in_channels: int | None, image_size: int | None, seed: int = 0
) -> Traced:
    """Open `source.model` as `open_model` does, whatever it puts out; `None` leaves a choice to the network.

    Raises:
        EdgepruneError: no such model, it fails, or it does not fit the size or the weights.
    """
    if source.model.endswith(".pt2"):
        traced = load(_existing(source.model))
        own = traced.input_shape
        shape = (in_channels or own[0], image_size or own[-1], image_size or own[-1])
        if own != shape and (in_channels or image_size):
            have, want = ("x".join(map(str, s)) for s in (shape, own))
            raise EdgepruneError(f"{source.model}: takes {want} images, the data give {have}. Give --image-size.")
        _fill(traced.module, source)
        fold_constants(traced.module)  # only now: folded parameters have other names than a file of weights
        return traced
    side = image_size or default_image_size(source.model) or IMAGENET_SIDE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _build(source.model, classes, in_channels or RGB, side)
    module = module.to("cpu").float()
    _fill(module, source)
    return trace(module, (in_channels or RGB, side, side))


def _build(model: str, classes: int | None, in_channels: int, side: int) -> nn.Module:
    if model in NETWORKS:
        return NETWORKS[model].build(classes or NETWORKS[model].classes, in_channels)
    if in_library(model):
        return build_from_library(model, classes or IMAGENET_CLASSES, in_channels, side)
    if not is_reference(model):
        raise _unknown(model)
    returned = _called(model, classes)
    if not isinstance(returned, nn.Module):
        raise EdgepruneError(f"{model}: returned {type(returned).__name__}, not a torch.nn.Module. Return the network.")
    return returned


def _called(model: str, classes: int | None) -> object:
    if classes is not None:
        return call(model, {"num_classes": classes})
    try:
        return call(model, {})
    except EdgepruneError:  # it takes a number of classes and has none of its own, or fails in any case
        return call(model, {"num_classes": IMAGENET_CLASSES})


def _unknown(model: str) -> EdgepruneError:
    path = Path(model)
    if path.suffix == ".py" and path.is_file():
        names = functions_in(path)
        example = names[0] if names else "build"
        return EdgepruneError(
            f"{model}: say which function, as in {model}:{example}. It has: {', '.join(names) or 'none'}."
        )
    if path.suffix in {".pt", ".pth", ".safetensors", ".ckpt", ".bin"}:
        return EdgepruneError(f"{model}: holds weights, no network. Name the network, and give this to --weights.")
    return EdgepruneError(
        f"unknown model {model!r}. Built-in: {', '.join(NETWORKS)}; "
        f"or give {', '.join(f'{name}:NAME' for name in LIBRARIES)}, file.py:function, package.module:function, "
        "or a .pt2 file."
    )


def _existing(model: str) -> Path:
    path = Path(model)
    if not path.is_file():
        raise EdgepruneError(f"{model}: no such file. Write it with torch.export.save.")
    return path


def _fill(module: nn.Module, source: Source) -> None:
    if source.weights is not None:
        load_weights(module, Path(source.weights), source.model)


def _check_outputs(traced: Traced, model: str, classes: int) -> None:
    # Three is a batch size that nobody exports with by chance.
    try:
        with torch.no_grad():
            output = traced.module(traced.example(3))
    except Exception as error:
        raise EdgepruneError(f"{model}: cannot run a batch of 3. Export it with a dynamic batch axis.") from error
    if output.dim() != 2 or len(output) != 3:
        shape = "x".join(map(str, output.shape))
        raise EdgepruneError(f"{model}: gives {shape} for 3 images. One row of class scores per image is needed.")
    if output.shape[1] != classes:
        raise EdgepruneError(
            f"{model}: gives {output.shape[1]} outputs, the data have {classes} classes. "
            "Change the last layer, or take num_classes as an argument."
        )
