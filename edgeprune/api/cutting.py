"""Pruning a module that is at hand, and the curvature for it; the training is the caller's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from edgeprune.api import allocating as by_search
from edgeprune.api.modules import check_data, one_tensor, traced_of
from edgeprune.compact.apply import compact_soundly
from edgeprune.compact.implant import implanted
from edgeprune.compact.sensitivity import before_training, sensitivities
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.merging.channels import merge_channels
from edgeprune.model.content import content_hash
from edgeprune.model.device import device_of
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance, provenance
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
from edgeprune.pruning.methods import METHODS, NEEDS_CURVATURE
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.score import Scores
from edgeprune.reconstruction.channels import snows_on_channels
from edgeprune.reconstruction.snows import Snows, snows
from edgeprune.spec.channels import check_implants
from edgeprune.spec.methods import Allocating, Compensation, MaskSource, MethodName, Rebuilding
from edgeprune.spec.pattern import Pattern, check_alone, parse_pattern, zeros_asked
from edgeprune.spec.recipe import Allocation, AttentionCut, Coupling, LayerRule, TraceFloor
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
    amp_hasa: Mapping[str, Any] | None = None,
    curvature: Curvature | None = None,
    trace_floor: TraceFloor = "zero",
    target: str | None = None,
    precision: Literal["int8", "fp32"] = "int8",
    multiple: int | None = None,
    max_layer_sparsity: float = 0.95,
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
        method: `magnitude`; `hap` or `amp-hasa`, which need `data`; or `snows`: as magnitude, then `compensate`.
        pattern: `channel`, or a mask pattern: `2:4` or another N:M, `1x4` or another 1xN, `unstructured`. Masked
            weights are zero, and stay so in training with an optimizer that was given to `Network.hold`.
        keep: patterns of layer names whose channels stay, as `("head*",)`.
        attention: what an attention loses, whole `heads` or the same `dims` of every head.
        coupling: channels that meet in a sum go together, or (`union`) each layer is cut alone.
        allocation: how much each group loses: by what its cuts are `measured` to do to the outputs on the images of
            `data` (without data, and under union coupling: as `scores`), or by the sums of its scores.
        exact: leave channels whole over which a norm or mean is taken.
        layers: rules as a recipe holds them, as `({"pattern": "layer1*", "max_sparsity": 0.3},)`.
        data: images `[n, ...]` as the network takes them, and labels `[n]`, which `hap` and `amp-hasa` read.
        compensate: what makes up for the cut, on the images of `data`: `merge`, of channels, gives what goes to what
            stays; `snows` rebuilds layers.
        mask_by: how `snows` chooses weights under a mask pattern: `magnitude`, `wanda` or `obs`.
        lookahead: how many operations ahead of a layer `snows` matches, or all to the `end`.
        rebuild: further settings of `snows`, as a recipe's `[snows]` has them: `{"biases": True}`.
        amp_hasa: settings of `amp-hasa`, as a recipe's `[amp_hasa]` has them: `{"evaluations": 300}`. Half of `data`
            judges the trials of its search, the other half the best of them.
        curvature: what `estimate_curvature` found of this network, instead of estimating it again.
        trace_floor: what `hap` makes of a negative trace: `zero`, or itself with `none`.
        target: a name of `edgeprune targets`, or a `.toml` file; its sparse kernels decide which layers a mask
            pattern takes.
        precision: in which the network will ship.
        multiple: widths are cut to multiples of it; None: the target's, 8 without a target.
        max_layer_sparsity: largest share of a layer's channels that may go.
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
    allocating = parse(Allocating, dict(amp_hasa or {}), "amp_hasa")
    check_choices(method, attention, precision, multiple, max_layer_sparsity, probes, coupling, allocation)
    limits = {"macs": macs, "params": params, "sparsity": sparsity}
    limits |= {"size_mb": size_mb, "memory_mb": memory_mb, "latency_ms": latency_ms}
    form, device = parse_pattern(pattern), load_target(target) if target is not None else None
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
    known = _known(curvature, traced)
    matching = tuple(rule for rule in keep if any(fnmatchcase(name, rule) for name in names))
    for rule in set(keep) - set(matching):
        warnings.warn(f"keep {rule!r} matches no layer", stacklevel=2)
    fitting = how(rebuilding) if rebuilds else None
    asked = by_search.check(method, allocating, data, Probing(probes, seed=seed), coupling, implant_ratio)
    if zeros is not None and asked is not None:
        return by_search.masked(traced, eligible(traced, form, device, matching), form, zeros, asked, fitting)
    if zeros is not None:
        assert method != "amp-hasa"
        scoring = Scoring(mask_by if method == "snows" else method, data, Probing(probes, seed=seed), known)
        return _masked(traced, form, scoring, Share(zeros, max_layer_sparsity), device, matching, fitting)
    ground = prunable(traced, matching, rules, attention, exact, coupling)
    ground = deployed(traced, ground, Deployment(precision, device, timed), budget.limits)
    widths = Limits(
        multiple or (device.channel_multiple.value if device is not None else 8),
        max_layer_sparsity,
        ordered(matching, rules),
    )
    if asked is not None:
        chosen = by_search.cutter(traced, ground, budget, widths, known, asked)
    else:
        scores = _scores(traced, ground, method, data, known, Probing(probes, seed=seed), trace_floor)
        if data is not None and allocation == "measured" and coupling == "group":
            curves = sensitivities(traced, ground.found, ground.groups, scores, widths, data[0])
            scores = replace(scores, measured=curves if rebuilds else before_training(curves))

        def chosen(free: list[Group]) -> Cuts:
            return cut_by.choose(ground, scores, budget, widths, free, implant_ratio)

    x = example[:8].to(device_of(traced))
    done = implanted(compact_soundly(traced, ground.found, ground.groups, chosen, x), ground, x)
    for name, why in done.refused.items():
        warnings.warn(f"{name} is left whole: {why}", stacklevel=2)
    if data is None or fitting is None:
        return Network.of(done.traced)
    return Network.of(_made_up(traced, ground.found, done.cuts.units, data[0], compensate, fitting))


def _scores(
    traced: Traced,
    ground: Prunable,
    method: MethodName,
    data: tuple[Tensor, Tensor] | None,
    known: Curvature | None,
    probing: Probing,
    trace_floor: TraceFloor,
) -> Scores:
    """A method's scores, its curvature being estimated where it is not known."""
    if method in NEEDS_CURVATURE and known is None:
        if data is None:
            raise EdgepruneError(f"{method} needs labelled images. Give data=(images, labels), or a curvature.")
        known = channel_traces(traced, ground.weights, data[0], data[1], probing, silent)
    return METHODS[method](traced.module, ground.groups, known, trace_floor)


def _made_up(
    traced: Traced, found: Provenance, units: frozenset[int], x: Tensor, compensate: Compensation, asked: Snows
) -> Traced:
    """The network without units, what is left being merged or rebuilt."""
    if compensate == "merge":
        return merge_channels(traced, found, units, x, asked.walking)[0]
    return snows_on_channels(traced, found, units, x, asked)[0]


def _masked(
    traced: Traced,
    pattern: Pattern,
    scoring: Scoring,
    share: Share,
    target: Target | None,
    keep: tuple[str, ...],
    rebuilding: Snows | None,
) -> Network:
    """A copy with its weights masked, and rebuilt where that is asked; the caller's weights stay."""
    twin = Traced(deepcopy(traced.module), traced.input_shape)
    masks = mask(twin, pattern, scoring, share, target, keep)
    if rebuilding is not None and scoring.data is not None:
        twin = Traced(deepcopy(traced.module), traced.input_shape)
        snows(twin, traced, masks.kept, scoring.data[0], rebuilding)
    return Network.of(twin, str(pattern), masks.kept)


def estimate_curvature(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    probes: int = 24,
    matrix: Literal["hessian", "ggn"] = "hessian",
    precision: Literal["fp32", "half", "bf16"] = "fp32",
    batch_size: int = 128,
    memory_mb: float = 2000.0,
    seed: int = 0,
) -> Curvature:
    """Estimate the traces of the Hessian blocks of all layers' output channels, for `prune` under any budget.

    Args:
        module: the trained network; it is not changed.
        data: images `[n, ...]` as the network takes them, and labels `[n]`.
        probes: how many; the more, the smaller the standard errors.
        matrix: of the cross-entropy loss, or its Gauss-Newton part, which is never negative.
        precision: `half` is float16 on CUDA and bfloat16 elsewhere.
        batch_size: images at a time, at most.
        memory_mb: megabytes (1e6 bytes) that graphs may hold.
        seed: of the probes.

    Raises:
        EdgepruneError: a setting that is none, labels that do not fit, or nothing to estimate.
    """
    traced = traced_of(module, one_tensor(data[0]))
    own = dict(traced.module.named_parameters())
    weights = {name: axis for name, axis in provenance(traced).weights.items() if name in own}
    found = channel_traces(
        traced, weights, *data, Probing(probes, batch_size, seed, matrix, precision, memory_mb), silent
    )
    return replace(found, fingerprint={"network": content_hash(traced)})


def _known(curvature: Curvature | None, traced: Traced) -> Curvature | None:
    """A curvature that was estimated before, if it is of this network."""
    if curvature is not None and curvature.fingerprint.get("network") != content_hash(traced):
        raise EdgepruneError("the curvature is of another network. Estimate it anew with edgeprune.estimate_curvature.")
    return curvature
