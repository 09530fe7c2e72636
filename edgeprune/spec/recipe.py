"""Recipe: what the user asks, in full; `RUN/recipe.toml` replays a run."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.allocating import check_allocating
from edgeprune.spec.budget import CHANNELS_AT_MOST, MASKED_AT_MOST, Budget, Search
from edgeprune.spec.channels import check_coupling, check_implants
from edgeprune.spec.int8 import Int8
from edgeprune.spec.methods import (
    Allocating,
    Compensation,
    Curving,
    Cycling,
    MethodName,
    Rebuilding,
    ScoreName,
    check_for_channels,
)
from edgeprune.spec.pattern import check_alone, parse_pattern, zeros_asked
from edgeprune.spec.strict import Strict

AttentionCut = Literal["dims", "heads"]
Coupling = Literal["group", "union"]
Allocation = Literal["measured", "scores"]
TraceFloor = Literal["zero", "none"]


class LayerRule(Strict):
    """What holds for the layers whose names match `pattern`; of several rules that match, the first counts."""

    pattern: str = Field(min_length=1)
    keep: bool = False
    """Never cut its output channels."""
    max_sparsity: float | None = Field(default=None, ge=0, le=1)
    """Instead of the recipe's `max_layer_sparsity`."""
    min_channels: int | None = Field(default=None, ge=1)
    multiple: int | None = Field(default=None, ge=1)
    """Instead of the target's channel multiple."""

    @model_validator(mode="after")
    def _something(self) -> LayerRule:
        if not self.keep and (self.max_sparsity, self.min_channels, self.multiple) == (None, None, None):
            raise ValueError("says nothing; give keep, max_sparsity, min_channels or multiple")
        return self


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
    """The trainings: SGD with Nesterov momentum, in INT8 Adam; cosine decay; the dense network teaches the others."""

    epochs: int = Field(default=3, ge=0)
    qat_epochs: int = Field(default=6, ge=0)
    dense_epochs: int = Field(default=0, ge=0)
    """Epochs of training the dense network first; 0 where it comes trained."""
    dense_learning_rate: float = Field(default=0.05, gt=0)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.02, gt=0)
    qat_learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of a training's steps over which the learning rate rises."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    distill: float = Field(default=0.7, ge=0, le=1)
    """Weight of the distillation loss; the rest is cross-entropy with the true labels."""
    temperature: float = Field(default=4.0, gt=0)


class Recipe(Strict):
    """Everything that decides a run's result, besides the files that it names."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    source: Source
    target: str
    method: MethodName = "hap"
    pattern: str = "channel"
    """In which form weights go: see `spec.pattern`. A mask pattern's budget is a sparsity; N:M says it by itself."""
    budget: Budget = Budget(macs=0.5)
    search: Search = Search()
    latency_profile: str | None = None
    """A profile with layer times, for `latency_ms`; `None`: a shipped one that fits, else a roofline."""
    attention: AttentionCut = "dims"
    """What an attention loses: whole heads, or the same dims of every head."""
    coupling: Coupling = "group"
    """Channels that meet in a sum go together; or every layer is cut alone, and the sum keeps the union of what its
    terms keep (as HAP's released code does), each term being spread over it."""
    allocation: Allocation = "measured"
    """How much each group loses: by what its cuts are measured to do to the outputs, or by the sums of its scores (as
    always under union coupling). Which of its channels, the scores say."""
    compensate: Compensation = "none"
    """What makes up for the cut before any training; `method = "snows"` includes SNOWS."""
    snows: Rebuilding = Rebuilding()
    camp_hive: Cycling = Cycling()
    amp_hasa: Allocating = Allocating()
    implant_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the cut channels, the highest scored, that get a 1x1 convolution instead (HAP's neural implant)."""
    trace_floor: TraceFloor = "zero"
    """What `hap` makes of a negative trace: zero, or itself as the released code does (cut first)."""
    exact: bool = False
    """Leave channels whole over which a norm or mean is taken: a cut would change what it is taken over."""
    keep: tuple[str, ...] = ()
    """Patterns (`head*`) of layer names whose channels are never cut; they go before `layers`."""
    layers: tuple[LayerRule, ...] = ()
    max_layer_sparsity: float = Field(default=CHANNELS_AT_MOST, gt=0, le=1)
    """Largest share of a group that may go; at 1 a branch may go whole, its output being a constant then. With a mask
    pattern, of a layer's weights, 0.98 where it is not given."""
    precision: Literal["int8", "fp32"] = "int8"
    training: Training = Training()
    int8: Int8 = Int8()
    curvature: Curving = Curving()
    calibration_images: int = Field(default=512, ge=8)
    golden_images: int = Field(default=8, ge=1, le=256)
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the compressing itself runs."""

    @model_validator(mode="before")
    @classmethod
    def _zeros(cls, content: Any) -> Any:
        """With a mask pattern, write down the share of zeros that it makes."""
        if not isinstance(content, dict) or not isinstance(content.get("pattern"), str):
            return content
        pattern = parse_pattern(content["pattern"])
        if not pattern.masks:
            return content
        budget = Budget.model_validate(content["budget"]) if "budget" in content else None
        asked = budget.model_dump(exclude_none=True) if budget is not None else {}
        return {"max_layer_sparsity": MASKED_AT_MOST} | content | {"budget": {"sparsity": zeros_asked(pattern, asked)}}

    @model_validator(mode="after")
    def _channels_only(self) -> Recipe:
        pattern = parse_pattern(self.pattern)
        if pattern.masks:
            others = {
                "layers": bool(self.layers),
                "exact": self.exact,
                "attention": self.attention != "dims",
                "coupling": self.coupling != "group",
                "implant_ratio": self.implant_ratio > 0,
            }
            check_alone(pattern, others)
        return self

    @model_validator(mode="after")
    def _curved(self) -> Recipe:
        """Refuse what only a method that scores by curvature can do."""
        named = {"--curvature": self.curvature.file is not None, "--spectrum": self.curvature.spectrum}
        for option, given in named.items():
            if given and self.method not in ("hap", "amp-hasa"):
                raise EdgepruneError(f"{option} is for hap; {self.method} needs no curvature. Leave one of them out.")
        if self.curvature.spectrum and parse_pattern(self.pattern).masks:
            raise EdgepruneError(f"--spectrum is for channels, not for pattern {self.pattern}. Leave one of them out.")
        return self

    @model_validator(mode="after")
    def _allocated(self) -> Recipe:
        check_allocating(self)
        return self

    @model_validator(mode="after")
    def _rebuilt(self) -> Recipe:
        if self.rebuilds and self.implant_ratio:
            raise EdgepruneError(
                "--implant is trained from zero, which no layer can be rebuilt for. Leave one of them out."
            )
        if self.snows != Rebuilding() and not self.rebuilds:
            raise EdgepruneError("settings of SNOWS belong to --method snows or --compensate snows. Give one of them.")
        if self.snows.masks != "magnitude" and (self.method != "snows" or not parse_pattern(self.pattern).masks):
            raise EdgepruneError(
                f"--mask {self.snows.masks} chooses the weights of --method snows under a mask pattern. "
                "Give both, or leave it out."
            )
        if self.compensate == "merge" and (self.method == "snows" or parse_pattern(self.pattern).masks):
            raise EdgepruneError(
                "--compensate merge is for channels that another method cut. Take snows, or leave it out."
            )
        if self.snows.target == "block" and not parse_pattern(self.pattern).masks:
            raise EdgepruneError(
                "[snows] target = 'block' is for mask patterns: a layer that lost inputs has no dense one."
            )
        if (self.rebuilds or self.method == "camp-hive") and self.budget.max_drop is not None:
            raise EdgepruneError(
                "--max-drop tries cuts by a short fine-tuning, in one cycle, and rebuilds no layers. "
                "Give a budget, as --macs 0.5."
            )
        return self

    @model_validator(mode="after")
    def _cycled(self) -> Recipe:
        if self.method != "camp-hive":
            if self.camp_hive != Cycling():
                raise EdgepruneError("settings of CAMP-HiVe belong to --method camp-hive. Give it too.")
            return self
        if self.pattern not in ("channel", "unstructured"):
            raise EdgepruneError(
                f"camp-hive cuts channels or single weights, no {self.pattern}. Give --method snows for that pattern, "
                "or --pattern unstructured."
            )
        check_for_channels(self.camp_hive, self.pattern)
        if self.compensate != "none":
            raise EdgepruneError(f"camp-hive merges by itself. Leave --compensate {self.compensate} out.")
        return self

    @model_validator(mode="after")
    def _counted(self) -> Recipe:
        check_implants(self.implant_ratio, self.budget, self.coupling)
        check_coupling(self.coupling, self.budget.limits)
        return self

    @model_validator(mode="after")
    def _pair(self) -> Recipe:
        mean, std = self.source.mean, self.source.std
        if (mean is None) != (std is None) or (mean and std and len(mean) != len(std)):
            raise ValueError("mean and std go together, one value per channel each")
        return self

    @property
    def rebuilds(self) -> bool:
        """Whether the layers are rebuilt after the cut, in a stage of its own."""
        return self.method == "snows" or self.compensate != "none" or self.merges

    @property
    def merges(self) -> bool:
        """Whether channels that go are merged into those that stay."""
        by_method = self.method == "camp-hive" and self.pattern == "channel" and self.camp_hive.merge != "none"
        return by_method or self.compensate == "merge"

    @property
    def fits_statistics(self) -> bool:
        """Whether layers were fitted to BatchNorm's statistics as they are, which then stay."""
        if self.method == "camp-hive":
            return self.camp_hive.merge == "joint" and (self.merges or self.camp_hive.merge_on == "layers")
        return self.rebuilds and not self.snows.reestimate

    @property
    def scores(self) -> ScoreName:
        """By which a mask pattern ranks single weights, where no method of its own does."""
        assert self.method != "amp-hasa" and self.method != "camp-hive", "which rank them by themselves"  # noqa: PT018
        return self.snows.masks if self.method == "snows" else self.method

    def digest(self) -> str:
        """Hex sha256 of the recipe's content."""
        return digest(self.model_dump(mode="json", by_alias=True))


def digest(content: object) -> str:
    """Hex sha256 of plain JSON-like data, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
