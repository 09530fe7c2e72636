"""Pruning a module that is at hand; the training is the caller's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from edgeprune.api import allocating as by_search
from edgeprune.api.curving import known_curvature
from edgeprune.api.cycling import channels_cycled, check_cycling, cycled
from edgeprune.api.modules import check_data, cut_out, one_tensor, traced_of
from edgeprune.compact.sensitivity import before_training, sensitivities
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.merging.channels import merge_channels
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.pipeline.masked import Scoring, mask
from edgeprune.pipeline.options import budget_from, check_choices, check_rebuilding
from edgeprune.pipeline.rebuilding import how
from edgeprune.progress import silent
from edgeprune.pruning import coupling as cut_by
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.layer_rules import ordered
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.masks import Share
from edgeprune.pruning.methods import METHODS, NEEDS_CURVATURE, Curved
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.score import Scores
from edgeprune.reconstruction.channels import snows_on_channels
from edgeprune.reconstruction.snows import Snows, snows
from edgeprune.spec.budget import CHANNELS_AT_MOST, MASKED_AT_MOST
from edgeprune.spec.channels import check_implants
from edgeprune.spec.methods import Allocating, Compensation, Cycling, MaskSource, MethodName, Rebuilding, ScoreName
from edgeprune.spec.pattern import Pattern, check_alone, parse_pattern, zeros_asked
from edgeprune.spec.recipe import (
    Allocation,
    AttentionCut,
    Coupling,
    LayerRule,
    TraceFloor,
)
from edgeprune.spec.speeds import check_latency
from edgeprune.spec.strict import parse
from edgeprune.spec.target import Target, load_target
from edgeprune.train.network import Network


def prune(
    module: nn.Module,
    example_inputs: Tensor | tuple[Tensor],
    *,
    macs: float | None = None,
    params: float | None = None,
    sparsity: float | None = None,
    size_mb: float | None = None,
    memory_mb: float | None = None,
    latency_ms: float | None = None,
    latency_profile: str | Path | None = None,
    method: MethodName = "magnitude",
    pattern: str = "channel",
    keep: Sequence[str] = (),
    attention: AttentionCut = "dims",
    coupling: Coupling = "group",
    allocation: Allocation = "measured",
    exact: bool = False,
    layers: Sequence[Mapping[str, Any]] = (),
    data: tuple[Tensor, Tensor] | None = None,
    compensate: Compensation = "none",
    mask_by: MaskSource = "magnitude",
    lookahead: int | Literal["end"] = 3,
    rebuild: Mapping[str, Any] | None = None,
    camp_hive: Mapping[str, Any] | None = None,
    amp_hasa: Mapping[str, Any] | None = None,
    curvature: Curvature | None = None,
    trace_floor: TraceFloor = "zero",
    target: str | None = None,
    precision: Literal["int8", "fp32"] = "int8",
    multiple: int | None = None,
    max_layer_sparsity: float | None = None,
    implant_ratio: float = 0.0,
    probes: int = 24,
    seed: int = 0,
) -> Network:
    """Cut channels out of a trained module, and prove that nothing else changed; or mask weights.

    Args:
        module: the trained network; it is not changed.
        example_inputs: a float tensor `[batch, ...]` as the network takes it.
        macs: share of the multiply-adds that may stay; 0.5 if no budget is given.
        params: share of the parameters that may stay. Of several limits, all hold.
        sparsity: share of the channels that must go; with a mask pattern, of the weights.
        size_mb: megabytes (1e6 bytes) of weights, in the precision that ships.
        memory_mb: megabytes of activations alive at once, at batch 1.
        latency_ms: milliseconds per image on `target`, by a profile of it or a roofline of its facts.
        latency_profile: what `edgeprune profile` wrote of the whole network; None: a shipped one that fits.
        method: `magnitude`; `hap` or `amp-hasa`, which need `data`; `snows`: as magnitude, then `compensate`; or
            `camp-hive`, which prunes and merges in turn, with `data`.
        pattern: `channel`, or a mask pattern: `2:4` or another N:M, `1x4` or another 1xN, `unstructured`. Masked
            weights are zero, and stay so in training with an optimizer that was given to `Network.hold`.
        keep: patterns of layer names whose channels stay, as `("head*",)`.
        attention: what an attention loses, whole `heads` or the same `dims` of every head.
        coupling: channels that meet in a sum go together, or (`union`) each layer is cut alone.
        allocation: how much each group loses: by what its cuts are `measured` to do to the outputs on the images of
            `data` (without data, and under union coupling: as `scores`), or by the sums of its scores.
        exact: leave channels whole over which a norm or mean is taken.
        layers: rules as a recipe holds them, as `({"pattern": "layer1*", "max_sparsity": 0.3},)`.
        data: images `[n, ...]` as the network takes them, and labels `[n]`, which `snows` and magnitude do not read.
        compensate: what makes up for the cut, on the images of `data`: `merge`, of channels, gives what goes to what
            stays; `snows` rebuilds layers.
        mask_by: how `snows` chooses weights under a mask pattern: `magnitude`, `wanda` or `obs`.
        lookahead: how many operations ahead of a layer `snows` matches, or all to the `end`.
        rebuild: further settings of `snows`, as a recipe's `[snows]` has them: `{"biases": True}`.
        camp_hive: settings of `camp-hive`, as a recipe's `[camp_hive]` has them: `{"cycles": 3}`.
        amp_hasa: settings of `amp-hasa`, as a recipe's `[amp_hasa]` has them: `{"evaluations": 300}`. Half of `data`
            judges the trials of its search, the other half the best of them.
        curvature: what `estimate_curvature` found of this network, instead of estimating it again.
        trace_floor: what `hap` makes of a negative trace: `zero`, or itself with `none`.
        target: a name of `edgeprune targets`, or a `.toml` file; its sparse kernels decide which layers a mask
            pattern takes.
        precision: in which the network will ship.
        multiple: widths are cut to multiples of it; None: the target's, 8 without a target.
        max_layer_sparsity: largest share of a layer that may go: 0.95 of its channels, 0.98 of its single weights.
        implant_ratio: share of the cut channels, the highest scored, that get a 1x1 convolution instead.
        probes: Hutchinson probes of `hap`.
        seed: of the probes.

    Returns:
        a trainable module without the cut channels, in eval mode; fine-tune it. `Network.save` writes a `.pt2`.

    Raises:
        EdgepruneError: the module cannot be exported, the budget cannot be met, or a proof fails.
    """
    given = {"masks": mask_by, "lookahead": lookahead, **(rebuild or {})}
    rebuilding = parse(Rebuilding, given, "snows")
    form, device = parse_pattern(pattern), load_target(target) if target is not None else None
    most = max_layer_sparsity if max_layer_sparsity is not None else MASKED_AT_MOST if form.masks else CHANNELS_AT_MOST
    allocating = parse(Allocating, dict(amp_hasa or {}), "amp_hasa")
    check_choices(method, attention, precision, multiple, most, probes, coupling, allocation)
    limits = {"macs": macs, "params": params, "sparsity": sparsity}
    limits |= {"size_mb": size_mb, "memory_mb": memory_mb, "latency_ms": latency_ms}
    cycling = check_cycling(method, camp_hive, form, data, compensate, implant_ratio)
    rebuilds = check_rebuilding(method, compensate, rebuilding, form.masks, data is not None, implant_ratio)
    zeros = None
    if form.masks:
        others = {"layers": bool(layers), "exact": exact, "attention": attention != "dims"}
        check_alone(form, others | {"implant_ratio": implant_ratio > 0, "coupling": coupling != "group"})
        zeros = zeros_asked(form, {name: value for name, value in limits.items() if value is not None})
        limits = {"sparsity": zeros}
    budget = budget_from(limits, coupling)
    check_implants(implant_ratio, budget, coupling)
    rules = tuple(parse(LayerRule, dict(rule), "layers") for rule in layers)
    timed = str(latency_profile) if latency_profile is not None else None
    if device is not None and latency_ms is not None:
        check_latency(device, precision, timed)
    example = one_tensor(example_inputs)
    if data is not None:
        check_data(data, example)
    traced = traced_of(module, example)
    names = {name.rpartition(".")[0] for name, _ in traced.module.named_parameters()}
    known = known_curvature(curvature, traced)
    matching = tuple(rule for rule in keep if any(fnmatchcase(name, rule) for name in names))
    for rule in set(keep) - set(matching):
        warnings.warn(f"keep {rule!r} matches no layer", stacklevel=2)
    asked = _Asked(
        method,
        data,
        Probing(probes, seed=seed),
        known,
        trace_floor,
        how(rebuilding) if rebuilds else None,
        compensate == "merge",
        cycling if method == "camp-hive" else None,
    )
    search = by_search.check(method, allocating, data, asked.probing, coupling, implant_ratio)
    if zeros is not None and search is not None:
        found = eligible(traced, form, device, matching)
        return by_search.masked(traced, found, form, zeros, search, asked.fitting)
    if zeros is not None:
        return _masked(traced, form, asked, mask_by, Share(zeros, most), device, matching)

    def ground_of(network: Traced) -> Prunable:
        found = prunable(network, matching, rules, attention, exact, coupling)
        return deployed(network, found, Deployment(precision, device, timed), budget.limits)

    multiples = multiple or (device.channel_multiple.value if device is not None else 8)
    widths = Limits(multiples, most, ordered(matching, rules))
    measured = allocation == "measured" and coupling == "group"
    if asked.cycling is not None and data is not None:
        return channels_cycled(
            traced, ground_of, widths, budget, asked.cycling, data, example[:8], measured, implant_ratio, seed
        )
    ground = ground_of(traced)
    if search is not None:
        chosen = by_search.cutter(traced, ground, budget, widths, known, search)
    else:
        scores = _scores(traced, ground, asked, widths if measured else None)

        def chosen(free: list[Group]) -> Cuts:
            return cut_by.choose(ground, scores, budget, widths, free, implant_ratio)

    done = cut_out(traced, ground, chosen, example[:8], stacklevel=3)
    if data is None or asked.fitting is None:
        return Network.of(done.traced)
    return Network.of(_made_up(traced, ground.found, done.cuts.units, data[0], asked.fitting, asked.merges))


@dataclass(frozen=True)
class _Asked:
    """What the weights are ranked by, and what makes up for those that go."""

    method: MethodName
    data: tuple[Tensor, Tensor] | None
    probing: Probing
    known: Curvature | None
    trace_floor: TraceFloor
    fitting: Snows | None
    merges: bool
    cycling: Cycling | None


def _scores(traced: Traced, ground: Prunable, asked: _Asked, widths: Limits | None) -> Scores:
    """By the method, its curvature being estimated where there is none; with what cuts to `widths` cost, measured."""
    found: Curved = asked.known
    if asked.method in NEEDS_CURVATURE and found is None:
        if asked.data is None:
            raise EdgepruneError(f"{asked.method} needs labelled images. Give data=(images, labels), or a curvature.")
        found = channel_traces(traced, ground.weights, *asked.data, asked.probing, silent)
    scores = METHODS[asked.method](traced.module, ground.groups, found, asked.trace_floor)
    if asked.data is None or widths is None:
        return scores
    curves = sensitivities(traced, ground.found, ground.groups, scores, widths, asked.data[0])
    return replace(scores, measured=curves if asked.fitting else before_training(curves))


def _made_up(
    traced: Traced, found: Provenance, units: frozenset[int], x: Tensor, fitting: Snows, merges: bool
) -> Traced:
    """The network without units, what is left being merged or rebuilt."""
    if merges:
        return merge_channels(traced, found, units, x, fitting.walking)[0]
    return snows_on_channels(traced, found, units, x, fitting)[0]


def _masked(
    traced: Traced,
    pattern: Pattern,
    asked: _Asked,
    mask_by: MaskSource,
    share: Share,
    target: Target | None,
    keep: tuple[str, ...],
) -> Network:
    """A copy with its weights masked, and merged or rebuilt where that is asked; the caller's weights stay."""
    if asked.cycling is not None and asked.data is not None:
        return cycled(traced, pattern, asked.data, asked.cycling, share, target, keep, asked.probing.seed)
    if asked.method == "snows":
        scores: ScoreName = mask_by
    else:
        assert asked.method != "amp-hasa" and asked.method != "camp-hive", "which have masks of their own"  # noqa: PT018
        scores = asked.method
    twin = Traced(deepcopy(traced.module), traced.input_shape)
    masks = mask(twin, pattern, Scoring(scores, asked.data, asked.probing, asked.known), share, target, keep)
    if asked.fitting is not None and asked.data is not None:
        twin = Traced(deepcopy(traced.module), traced.input_shape)
        snows(twin, traced, masks.kept, asked.data[0], asked.fitting)
    return Network.of(twin, str(pattern), masks.kept)
