"""The options that commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.cli.method_options import (
    Adaround,
    Allocator,
    Between,
    Compensate,
    CurvatureFile,
    Cycles,
    Equalize,
    Evaluations,
    Half,
    Int8Anyway,
    Int8Keep,
    Int8MaxDrop,
    LearnedScales,
    Lookahead,
    Mask,
    Matrix,
    Merge,
    MergeOnName,
    Preset,
    Probes,
    Ranges,
    Ray,
    Score,
    SearchMinutes,
    Spectrum,
)
from edgeprune.cli.option import option

_SOURCE, _BUDGET, _TRAINING = "Network and images", "What to reach", "Training"


Model = Annotated[
    str | None,
    typer.Argument(
        help="Built-in name, timm:NAME, torchvision:NAME, file.py:function, package.module:function or .pt2. "
        "[default: the built-in example]",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    option(
        "Folder of class folders with train/ and test/, .npz, CIFAR binaries, digits, or file.py:function.",
        _SOURCE,
        "--data",
    ),
]
Weights = Annotated[
    str | None, option(".safetensors or a weights-only checkpoint.", _SOURCE, "--weights", metavar="FILE")
]
ImageSize = Annotated[
    int | None,
    option(
        "Side of the square input. [default: the network's, else the images']",
        _SOURCE,
        "--image-size",
        metavar="PIXELS",
    ),
]
Mean = Annotated[
    str | None, option("Per channel, of pixels in 0..1: 0.485,0.456,0.406.", _SOURCE, "--mean", metavar="M,...")
]
Std = Annotated[str | None, option("Per channel: 0.229,0.224,0.225.", _SOURCE, "--std", metavar="S,...")]
Augment = Annotated[str | None, option("none, crop or crop-flip. [default: as fits the data]", _SOURCE, "--augment")]
TargetName = Annotated[
    str | None,
    option(
        "Name or .toml file; see `edgeprune targets`. [default: this machine's CPU]",
        _BUDGET,
        "--target",
        metavar="NAME",
    ),
]
Method = Annotated[
    str | None, option("hap, magnitude, snows, camp-hive or amp-hasa. [default: hap]", _BUDGET, "--method")
]
PatternName = Annotated[
    str | None,
    option("channel, 2:4 (any N:M), 1x4 (any 1xN), unstructured. [default: channel]", _BUDGET, "--pattern"),
]
Macs = Annotated[
    float | None,
    option("Share of the multiply-adds that may stay; several limits may be given. [default: 0.5]", _BUDGET, "--macs"),
]
Params = Annotated[float | None, option("Share of the parameters that may stay.", _BUDGET, "--params")]
Sparsity = Annotated[float | None, option("Share of the channels (or weights) that must go.", _BUDGET, "--sparsity")]
SizeMb = Annotated[
    float | None,
    option("Megabytes (1e6) of weights, in the precision that ships.", _BUDGET, "--size-mb", metavar="MB"),
]
MemoryMb = Annotated[
    float | None,
    option("Megabytes of activations alive at once, batch 1.", _BUDGET, "--memory-mb", metavar="MB"),
]
LatencyMs = Annotated[
    float | None,
    option(
        "Milliseconds per image, by a profile of the target, else estimated.", _BUDGET, "--latency-ms", metavar="MS"
    ),
]
LatencyProfile = Annotated[
    Path | None,
    option("Profile with layer times, for --latency-ms.", _BUDGET, "--latency-profile", metavar="FILE"),
]
MaxDrop = Annotated[
    float | None,
    option(
        "Search the smallest network that loses at most this share of validation accuracy: 0.01 is one point.",
        _BUDGET,
        "--max-drop",
    ),
]
Trials = Annotated[int | None, option("Budgets that --max-drop tries. [default: 5]", _BUDGET, "--trials")]
TrialEpochs = Annotated[
    int | None, option("Fine-tuning of each trial. [default: 1]", _BUDGET, "--trial-epochs", metavar="EPOCHS")
]
Keep = Annotated[
    list[str] | None,
    option("Pattern of layer names never cut; may be repeated.", _BUDGET, "--keep", metavar="PATTERN"),
]
Attention = Annotated[
    str | None, option("What an attention loses: dims or heads. [default: dims]", _BUDGET, "--attention")
]
CouplingName = Annotated[
    str | None,
    option(
        "Channels that meet in a sum: cut as one group, or each layer alone, the sum keeping the union. "
        "[default: group]",
        _BUDGET,
        "--coupling",
        metavar="group|union",
    ),
]
AllocationName = Annotated[
    str | None,
    option(
        "How much each layer loses: by what cuts are measured to do to the outputs, or by sums of scores. "
        "[default: measured]",
        _BUDGET,
        "--allocation",
        metavar="measured|scores",
    ),
]
Implant = Annotated[
    float | None,
    option(
        "Share of the cut channels that get a 1x1 convolution instead. [default: 0]", _BUDGET, "--implant", metavar="R"
    ),
]
Exact = Annotated[bool, option("Leave channels whole over which a norm or mean is taken.", _BUDGET, "--exact")]
Fp32 = Annotated[bool, option("Stay in float: prune only.", _BUDGET, "--fp32")]
Epochs = Annotated[int | None, option("Fine-tuning after pruning. [default: 3]", _TRAINING, "--epochs")]
QatEpochs = Annotated[
    int | None, option("Training in INT8; 0: none, ranges only. [default: twice --epochs]", _TRAINING, "--qat-epochs")
]
DenseEpochs = Annotated[int | None, option("Train the dense network first. [default: 0]", _TRAINING, "--dense-epochs")]
BatchSize = Annotated[int | None, option("[default: 128]", _TRAINING, "--batch-size")]
LearningRate = Annotated[float | None, option("Of the fine-tuning. [default: 0.02]", _TRAINING, "--learning-rate")]
Seed = Annotated[int | None, option("[default: 0]", _TRAINING, "--seed")]
Device = Annotated[str | None, option("Where to compress: auto, cpu or cuda. [default: auto]", _TRAINING, "--device")]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="Replay a RUN/recipe.toml instead of options.", show_default=False)
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Run directory. [default: runs/MODEL-TARGET]", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def _options(
    model: Model = None,
    data: Data = None,
    target: TargetName = None,
    method: Method = None,
    pattern: PatternName = None,
    macs: Macs = None,
    params: Params = None,
    sparsity: Sparsity = None,
    size_mb: SizeMb = None,
    memory_mb: MemoryMb = None,
    latency_ms: LatencyMs = None,
    latency_profile: LatencyProfile = None,
    max_drop: MaxDrop = None,
    trials: Trials = None,
    trial_epochs: TrialEpochs = None,
    epochs: Epochs = None,
    qat_epochs: QatEpochs = None,
    dense_epochs: DenseEpochs = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    augment: Augment = None,
    keep: Keep = None,
    attention: Attention = None,
    coupling: CouplingName = None,
    allocation: AllocationName = None,
    implant: Implant = None,
    exact: Exact = False,
    fp32: Fp32 = False,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    probes: Probes = None,
    matrix: Matrix = None,
    half: Half = False,
    spectrum: Spectrum = False,
    curvature: CurvatureFile = None,
    compensate: Compensate = None,
    mask: Mask = None,
    lookahead: Lookahead = None,
    cycles: Cycles = None,
    merge: Merge = None,
    merge_on: MergeOnName = None,
    score: Score = None,
    preset: Preset = None,
    between: Between = None,
    ranges: Ranges = None,
    int8_max_drop: Int8MaxDrop = None,
    int8_keep: Int8Keep = None,
    learned_scales: LearnedScales = False,
    equalize: Equalize = False,
    adaround: Adaround = None,
    int8_anyway: Int8Anyway = False,
    allocator: Allocator = None,
    evaluations: Evaluations = None,
    search_minutes: SearchMinutes = None,
    ray: Ray = None,
    seed: Seed = None,
    device: Device = None,
    recipe: RecipeFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """What the commands that begin a run take."""


def takes_options(command: Callable[[dict[str, Any], Path | None, bool], None]) -> Callable[..., None]:
    """Give a command the options above: it gets those of the recipe as a dict, the run directory, and --json."""

    def typed(**given: Any) -> None:
        output, json = given.pop("output"), given.pop("json")
        command(given, output, json)

    typed.__doc__ = command.__doc__
    typed.__annotations__ = _options.__annotations__
    typed.__signature__ = inspect.signature(_options, eval_str=True)  # type: ignore[attr-defined]
    return typed
