"""The zoo's networks: `timm:NAME`, `torchvision:NAME`, `transformers:CLASS`. Random weights, nothing is fetched."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edgeprune.errors import EdgepruneError
from edgeprune.model.libraries import build_from_library, import_library, in_library, library_image_size

LIST = Path(__file__).with_name("zoo.toml")
CLASSES, LARGEST, USUAL = 1000, 256, 224
"""A network made for images larger than 256 gets 224, so that a run is hours and not days."""


class Logits(nn.Module):
    """A classifier of transformers as a network from images to logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(pixel_values=x).logits


def references(quick: bool) -> list[str]:
    """The names of the list, or of its quick part."""
    listed = _listed()
    if quick:
        return list(listed["quick"])
    return [
        *(f"timm:{name}" for name in (*listed["families"], *listed["variants"])),
        *(f"torchvision:{name}" for name in listed["torchvision"]),
        *(f"transformers:{name}" for name in listed["transformers"]),
    ]


def import_for(names: list[str], *also: str) -> None:
    """Import the packages that these networks and tools come from; end in one line where one is missing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    kinds = {name.partition(":")[0] for name in names}
    # transformers and timm import torchvision where it is there.
    for kind in sorted({"torchvision"} if find_spec("torchvision") else set()) + sorted(kinds | set(also)):
        try:
            import_library(kind)
        except EdgepruneError as error:
            sys.exit(f"error: {error}")


def build(reference: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return a network in eval mode and the shape of its input, its norms far from the identity."""
    torch.manual_seed(0)
    if in_library(reference):
        made_for = library_image_size(reference)
        side = made_for if made_for <= LARGEST else USUAL
        module = build_from_library(reference, CLASSES, 3, side)
    else:
        module, side = _transformer(reference.partition(":")[2])
    _unsettle(module, side)
    return module.eval(), (3, side, side)


def _listed() -> dict[str, Any]:
    return tomllib.loads(LIST.read_text(encoding="utf-8"))


def _transformer(name: str) -> tuple[nn.Module, int]:
    import transformers

    settings = dict(_listed()["transformers"][name])
    side = settings.pop("side", settings.get("image_size", USUAL))
    kind = getattr(transformers, name, None)
    if kind is None:
        raise EdgepruneError(f"transformers {transformers.__version__} has no {name}")
    return Logits(kind(kind.config_class(**settings, num_labels=CLASSES))), side


def _unsettle(module: nn.Module, side: int) -> None:
    """Move what initialisation left at one value, and set BatchNorm's statistics to those of noise.

    Why: a layer scale of 1e-6, a branch that ends in gamma = 0 or a zero bias hides whatever is wrong behind it.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                spread = torch.rand(parameter.shape, generator=generator)
                parameter.copy_(0.2 * spread - 0.1 if name.endswith("bias") else 0.5 + spread)
        module.eval()
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.train()
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        module(torch.randn(4, 3, side, side, generator=generator))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
            # Where noise all comes out alike, dividing by its deviation would turn rounding into signal.
            norm.running_var.copy_(norm.running_var.maximum(0.1 * norm.running_mean**2).clamp(min=0.01))
