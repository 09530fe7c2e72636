"""The methods by name, and the settings that are theirs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import Strict

MethodName = Literal["amp-hasa", "camp-hive", "hap", "magnitude", "snows"]
METHOD_NAMES: tuple[str, ...] = get_args(MethodName)
MaskSource = Literal["magnitude", "wanda", "obs"]
Compensation = Literal["none", "merge", "snows"]
"""What makes up for a cut before any training: nothing; channels that go merged into those that stay; or SNOWS."""
MergeName = Literal["joint", "pair", "constant", "none"]
"""How CAMP-HiVe gives what goes to what stays: jointly, each pair as if it were alone, half of it, or not at all."""
MergeOn = Literal["layers", "loss"]
"""The second-order model of a merge: of what each layer puts out, or of the loss, by its leading eigenpairs."""
Significance = Literal["lowrank+fisher", "lowrank", "eigvec", "magnitude"]
"""By what CAMP-HiVe ranks single weights; `eigvec` is the released code's."""
ScoreName = Literal["hap", "magnitude", "wanda", "obs"]
"""By which single weights are ranked."""
Preset = Literal["sound", "paper-code"]
"""CAMP-HiVe's settings: edgeprune's, or those of the authors' code."""
AllocatorName = Literal["ppo", "cem", "random", "lamp", "erk", "global", "uniform"]
"""How AMP-HASA divides a budget among layers: three searches, and four rules."""
SEARCHES: frozenset[AllocatorName] = frozenset({"ppo", "cem", "random"})
Form = Literal["rank", "mean", "power", "raw"]
Sign = Literal["corrected", "literal"]
Diagonal = Literal["fisher", "empirical", "hutchinson"]
Reward = Literal["accuracy", "literal"]

Lookahead = Annotated[int, Field(ge=0)] | Literal["end"]


class Curving(Strict):
    """How the curvature is estimated."""

    images: int = Field(default=256, ge=8)
    batch_size: int = Field(default=128, ge=1)
    probes: int = Field(default=24, ge=2)
    """Hutchinson probes at most (the papers': 300)."""
    matrix: Literal["hessian", "ggn"] = "hessian"
    """Of the loss; or its Gauss-Newton part: never negative, and of every layer without products."""
    precision: Literal["fp32", "half", "bf16"] = "fp32"
    """`half` is EHAP's: float16 on CUDA, bfloat16 elsewhere."""
    memory_mb: float = Field(default=2000, gt=0)
    """Megabytes (1e6 bytes) that the graphs of the images may hold; beyond it they are built again."""
    spectrum: bool = False
    """Also estimate the density of the Hessian's eigenvalues, for the report."""
    file: str | None = None
    """What `edgeprune curvature` wrote of this network on these images; nothing is estimated then."""
    file_sha256: str | None = None
    """Of its content: the file may go once it was read, and another one under its name is another recipe."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    settled: float = Field(default=0.99, gt=0, le=1)
    """Stop early once this share of channel pairs across the cut is ordered with `confidence`."""


class Rebuilding(Strict):
    """How SNOWS rebuilds the layers of a pruned network (arXiv 2411.18376); nothing here needs labels."""

    masks: MaskSource = "magnitude"
    """Which weights `method = "snows"` keeps: by size, by Wanda (arXiv 2306.11695) or by Optimal Brain Surgeon."""
    lookahead: Lookahead = 3
    """K: how many operations ahead the outputs are matched; 0: the layer's own only; `end`: all to the network's end,
    which takes about five times as long as 3 and was no better on CIFAR-10."""
    images: int = Field(default=3000, ge=16)
    target: Literal["network", "block"] = "network"
    """Matched are the dense network's own values; or what its layers make of the pruned one's (the paper's code)."""
    matrix: Literal["ggn", "hessian"] = "ggn"
    warm: bool = True
    """Start from the least-squares solution of the layer's own output."""
    biases: bool = False
    """Move the layers' biases (with BatchNorm: its shifts) too."""
    reestimate: bool = False
    """Re-estimate BatchNorm's statistics afterwards; the paper does not, and it undoes part of the fit."""
    passes: int = Field(default=1, ge=1)
    """Over the images, one Newton step for each batch."""
    iterations: int = Field(default=20, ge=1)
    """Of conjugate gradients for one step, at most."""
    batch_size: int = Field(default=256, ge=8)
    memory_mb: float = Field(default=4000, gt=0)
    """Megabytes (1e6 bytes) of activations that stay in memory; what is more goes to a temporary folder."""


AS_RELEASED: dict[str, Any] = {
    "cycles": 1,
    "score": "eigvec",
    "merge": "constant",
    "merge_on": "loss",
    "by_tensor": True,
    "eigenpairs": 1,
    "trust": 1000.0,
    "guard": 0.0,
}
"""CAMP-HiVe as its authors' code means it, where it does what it says (its Hessian product is the plain gradient)."""


class Cycling(Strict):
    """How CAMP-HiVe prunes, merges and trains in turn (arXiv 2511.06265)."""

    preset: Preset = "sound"
    """`paper-code`: the released code's choices below, unless they are given."""
    cycles: int | None = Field(default=None, ge=1, le=100)
    """Of pruning and merging, on a cubic schedule; `None`: 6 of single weights, 2 of channels."""
    between: float = Field(default=0.0, ge=0)
    """Epochs of fine-tuning after each cycle but the last, which `training.epochs` follow; 0.5 sees half the images."""
    score: Significance | None = None
    """`None`: of single weights `magnitude`, which with joint merges left 85.4 % right on a ResNet-20 without 80 % of
    its weights, where `lowrank+fisher` left 82.3 (dense: 88.1); of channels `lowrank+fisher`."""
    merge: MergeName = "joint"
    merge_on: MergeOn = "layers"
    by_tensor: bool = False
    """Every layer loses the same share of its weights."""
    eigenpairs: int = Field(default=10, ge=1)
    """At most, and at most as many as there are classes."""
    sweeps: int = Field(default=3, ge=1)
    """Over the weights that stay, of a joint merge on the loss."""
    trust: float = Field(default=0.5, gt=0)
    """Most that a weight moves, in root mean squares of its layer's; joint merges on layers need no bound."""
    guard: float = Field(default=0.01, ge=0, lt=1)
    """Share of the weights that stay for their curvature, whatever their size."""
    images: int = Field(default=1024, ge=16)
    """For merges; for the curvature, the first `curved_images` of them."""
    curved_images: int = Field(default=512, ge=8)
    batch_size: int = Field(default=256, ge=8)
    memory_mb: float = Field(default=2000, gt=0)
    """Megabytes (1e6 bytes) that graphs, or activations, may hold."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, content: Any) -> Any:
        released = isinstance(content, dict) and content.get("preset") == "paper-code"
        return AS_RELEASED | content if released else content

    def ranked_by(self, pattern: str) -> Significance:
        """What weights or channels are ranked by."""
        return self.score or ("lowrank+fisher" if pattern == "channel" else "magnitude")

    def count(self, pattern: str) -> int:
        """How many cycles there are."""
        return self.cycles if self.cycles is not None else 2 if pattern == "channel" else 6


def check_for_channels(asked: Cycling, pattern: str) -> None:
    """Refuse what CAMP-HiVe does to single weights only.

    Raises:
        EdgepruneError: the pattern is of channels.
    """
    if pattern != "channel":
        return
    if asked.score == "eigvec":
        raise EdgepruneError(
            "the released code's score and preset are for single weights. Give --pattern unstructured too."
        )
    if asked.merge_on != "layers" or asked.by_tensor:
        raise EdgepruneError(
            "merge_on = 'loss' and by_tensor are for single weights. Give --pattern unstructured, or leave them out."
        )


class Allocating(Strict):
    """How AMP-HASA scores, `S = |w| exp(strength h)` with h the curvature, and divides a budget among the layers."""

    allocator: AllocatorName = "ppo"
    evaluations: int = Field(default=600, ge=2)
    """Allocations that a search tries, in each cycle."""
    minutes: float | None = Field(default=None, gt=0)
    """A search that takes longer ends with what it has; None: no limit."""
    images: int = Field(default=1000, ge=16)
    """Training images on which allocations are judged."""
    fresh_images: int = Field(default=2000, ge=16)
    """Validation images on which the best of them are judged again."""
    half: bool = False
    """Judge trials in bfloat16, which some processors have units for; the best are judged again in float32."""
    spread: float = Field(default=0.5, gt=0, le=3)
    """Standard deviation of a search's first steps, in logits of the share that a layer keeps."""
    curvature: Diagonal = "fisher"
    """Of single weights: squared gradients with labels drawn from the outputs, with the true ones (`empirical`), or
    Hutchinson's, most of which is noise. Channels are scored by traces, as `[curvature]` says."""
    pooled: bool = True
    """Single weights have the mean curvature over the outputs of their layer; false: their own, as printed."""
    form: Form = "power"
    """What h is: the log of the curvature over its mean, so that it counts as a power; its rank among all, 0 to 1;
    itself over its mean; itself (`raw`, as printed)."""
    sign: Sign = "corrected"
    """`literal`: `exp(-strength h)`, as printed, by which what matters most goes first."""
    strength: float | Literal["search"] = "search"
    """The formula's lambda; 0 is magnitude. `search`: the best of five on the validation images."""
    reward: Reward = "accuracy"
    """`literal`: accuracy minus sparsity, as printed, which holds no budget and is best for the dense network."""
    least: float = Field(default=0.02, ge=0, lt=1)
    """Share of every layer's weights that stays in any case; of channels, `max_layer_sparsity` says it."""
    cycles: int = Field(default=1, ge=1)
    """Prune in so many steps, on a cubic schedule, with the curvature and the allocation anew in each."""
    cycle_epochs: int = Field(default=1, ge=0)
    """Of training between them."""
    ray: int | None = Field(default=None, ge=1)
    """Ray workers that judge allocations; None: this process does."""
