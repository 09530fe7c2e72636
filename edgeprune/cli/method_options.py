"""The options that belong to a method, or to INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from edgeprune.cli.option import option

_CURVATURE, _REBUILDING, _INT8 = "Curvature", "Rebuilding layers", "INT8"
_CYCLES, _ALLOCATING = "Cycles of pruning and merging", "Allocation of --method amp-hasa"

Probes = Annotated[int | None, option("Hutchinson probes at most. [default: 24]", _CURVATURE, "--probes")]
Matrix = Annotated[
    str | None,
    option(
        "Curvature of the loss, or its Gauss-Newton part. [default: hessian]",
        _CURVATURE,
        "--matrix",
        metavar="hessian|ggn",
    ),
]
Half = Annotated[bool, option("Estimate it in half precision (EHAP).", _CURVATURE, "--half")]
Spectrum = Annotated[bool, option("Also the density of eigenvalues, for the report.", _CURVATURE, "--spectrum")]
CurvatureFile = Annotated[
    Path | None, option("What `edgeprune curvature` wrote, instead.", _CURVATURE, "--curvature", metavar="FILE")
]
Compensate = Annotated[
    str | None,
    option(
        "What makes up for a cut before training: channels merged into those that stay, or layers rebuilt by SNOWS. "
        "[default: none; --method snows does]",
        _REBUILDING,
        "--compensate",
        metavar="none|merge|snows",
    ),
]
Mask = Annotated[
    str | None,
    option(
        "How --method snows chooses weights. [default: magnitude]",
        _REBUILDING,
        "--mask",
        metavar="magnitude|wanda|obs",
    ),
]
Lookahead = Annotated[
    str | None,
    option(
        "Operations ahead that are matched: 0 the layer's own, or more. [default: 3]",
        _REBUILDING,
        "--lookahead",
        metavar="K|end",
    ),
]
Cycles = Annotated[
    int | None, option("Of --method camp-hive. [default: 6 of weights, 2 of channels]", _CYCLES, "--cycles")
]
Merge = Annotated[
    str | None,
    option(
        "How what goes is given to what stays. [default: joint]", _CYCLES, "--merge", metavar="joint|pair|constant|none"
    ),
]
MergeOnName = Annotated[
    str | None,
    option(
        "What a merge of weights is fitted to: the layers' outputs, or the loss. [default: layers]",
        _CYCLES,
        "--merge-on",
        metavar="layers|loss",
    ),
]
Score = Annotated[
    str | None,
    option(
        "What camp-hive ranks by. [default: magnitude of weights, lowrank+fisher of channels]",
        _CYCLES,
        "--score",
        metavar="lowrank+fisher|lowrank|eigvec|magnitude",
    ),
]
Preset = Annotated[
    str | None,
    option(
        "Of camp-hive's settings: paper-code is the authors' code, mended. [default: sound]",
        _CYCLES,
        "--preset",
        metavar="sound|paper-code",
    ),
]
Between = Annotated[
    float | None,
    option("Epochs of training between two cycles; 0.5 is half of the images. [default: 0]", _CYCLES, "--between"),
]
Ranges = Annotated[
    str | None,
    option(
        "How ranges of activations are found. [default: ema where INT8 is trained, else mse]",
        _INT8,
        "--ranges",
        metavar="ema|minmax|percentile|mse|entropy",
    ),
]
Int8MaxDrop = Annotated[
    float | None,
    option(
        "Most that INT8 may lose against the pruned float network; the fewest layers stay in higher precision. "
        "[default: no limit]",
        _INT8,
        "--int8-max-drop",
        metavar="D",
    ),
]
Int8Keep = Annotated[
    list[str] | None,
    option("Pattern of layers left in higher precision; may be repeated.", _INT8, "--int8-keep", metavar="PATTERN"),
]
LearnedScales = Annotated[bool, option("Train the scales too (LSQ).", _INT8, "--learned-scales")]
Equalize = Annotated[bool, option("Even the ranges of channels across layers first.", _INT8, "--equalize")]
Adaround = Annotated[
    int | None,
    option("Without training: steps per layer that choose each weight's rounding.", _INT8, "--adaround", metavar="N"),
]
Int8Anyway = Annotated[bool, option("Ship INT8 also where it is measured no faster.", _INT8, "--int8-anyway")]
Allocator = Annotated[
    str | None,
    option(
        "How a budget is divided among layers: ppo, cem, random search, or a rule. [default: ppo]",
        _ALLOCATING,
        "--allocator",
        metavar="ppo|cem|random|lamp|erk|global|uniform",
    ),
]
Evaluations = Annotated[
    int | None, option("Allocations that a search tries. [default: 600]", _ALLOCATING, "--evaluations", metavar="N")
]
SearchMinutes = Annotated[
    float | None,
    option("End a search after so long, with the best so far.", _ALLOCATING, "--search-minutes", metavar="MINUTES"),
]
Ray = Annotated[
    int | None,
    option("Try allocations in so many Ray workers, here or on a cluster.", _ALLOCATING, "--ray", metavar="WORKERS"),
]
