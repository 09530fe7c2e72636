"""Recipe: what the user asks, in full; `RUN/recipe.toml` replays a run."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, get_args

from pydantic import Field, model_validator

from edgeprune.spec.strict import Strict

MethodName = Literal["hap", "magnitude"]
METHOD_NAMES: tuple[str, ...] = get_args(MethodName)
AttentionCut = Literal["dims", "heads"]
BudgetKind = Literal["macs", "params", "sparsity"]


class Budget(Strict):
    """How much may stay (`macs`, `params`: share of the dense network) or must go (`sparsity`: share of channels)."""

    kind: BudgetKind = "macs"
    value: float = Field(default=0.5, gt=0, lt=1)


class Source(Strict):
    """A network and the images it sees, as named on the command line."""

    model: str
    data: str
    weights: str | None = None
    image_size: int | None = Field(default=None, ge=4, le=4096)
    """Side of the square input in pixels; `None`: the network's own, else the images' own."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Per channel, of pixel values in 0..1; `None`: the data source's own (ImageNet's for photographs)."""
    augment: Literal["none", "crop", "crop-flip"] | None = None
    """`None`: the data source's own."""
    val_share: float = Field(default=0.1, gt=0, lt=0.9)
    """Share of the training images held out for every choice that is made."""


class Training(Strict):
    """The fine-tunings: SGD with Nesterov momentum, cosine decay, distillation from the dense network."""

    epochs: int = Field(default=3, ge=0)
    qat_epochs: int = Field(default=2, ge=0)
    dense_epochs: int = Field(default=0, ge=0)
    """Epochs of training the dense network first; 0 where it comes trained."""
    dense_learning_rate: float = Field(default=0.05, gt=0)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.02, gt=0)
    qat_learning_rate: float = Field(default=5e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    distill: float = Field(default=0.7, ge=0, le=1)
    """Weight of the distillation loss; the rest is cross-entropy with the true labels."""
    temperature: float = Field(default=4.0, gt=0)


class Curving(Strict):
    """How the curvature is estimated."""

    images: int = Field(default=256, ge=8)
    batch_size: int = Field(default=128, ge=1)
    probes: int = Field(default=24, ge=2)
    """Hutchinson probes at most (the papers': 300)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    settled: float = Field(default=0.99, gt=0, le=1)
    """Stop early once this share of channel pairs across the cut is ordered with `confidence`."""


class Recipe(Strict):
    """Everything that decides a run's result, besides the files that it names."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    source: Source
    target: str
    method: MethodName = "hap"
    budget: Budget = Budget()
    keep: tuple[str, ...] = ()
    """Patterns (`head*`) of layer names whose channels are never cut."""
    max_layer_sparsity: float = Field(default=0.95, gt=0, lt=1)
    precision: Literal["int8", "fp32"] = "int8"
    training: Training = Training()
    curvature: Curving = Curving()
    calibration_images: int = Field(default=512, ge=8)
    golden_images: int = Field(default=8, ge=1, le=256)
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the compressing itself runs."""

    @model_validator(mode="after")
    def _pair(self) -> Recipe:
        mean, std = self.source.mean, self.source.std
        if (mean is None) != (std is None) or (mean and std and len(mean) != len(std)):
            raise ValueError("mean and std go together, one value per channel each")
        return self

    def digest(self) -> str:
        """Hex sha256 of the recipe's content."""
        return digest(self.model_dump(mode="json", by_alias=True))


def digest(content: object) -> str:
    """Hex sha256 of plain JSON-like data, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
