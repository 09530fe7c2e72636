"""The Python API: the command line's verbs, for notebooks and scripts.

`compress` is the command of that name. `prune`, `quantize` and `export` are its steps on modules that are at hand,
with the training left to the caller's own loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgeprune.compact.apply import compact_soundly
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.device import device_of
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced, trace
from edgeprune.model.traced import load as read
from edgeprune.pipeline.compress import compress as run_chain
from edgeprune.pipeline.masked import Probing, Scoring, mask
from edgeprune.pipeline.options import budget_from, check_choices, default_folder, recipe_from
from edgeprune.pipeline.ship import Shipping, ship
from edgeprune.progress import Tick, silent
from edgeprune.pruning import coupling as cut_by
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.inspection import inspect_network
from edgeprune.pruning.layer_rules import ordered
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.masks import Share
from edgeprune.pruning.methods import METHODS, NEEDS_CURVATURE
from edgeprune.pruning.plan import prunable
from edgeprune.quantization.qat import prepare
from edgeprune.spec.bundle import Bundle
from edgeprune.spec.inspection import Inspection
from edgeprune.spec.pattern import check_alone, parse_pattern, zeros_asked
from edgeprune.spec.recipe import METHOD_NAMES, AttentionCut, Coupling, LayerRule, MethodName
from edgeprune.spec.result import Result
from edgeprune.spec.speeds import check_latency
from edgeprune.spec.strict import parse
from edgeprune.spec.target import load_target
from edgeprune.train.network import Network


def compress(
    model: str | None = None,
    data: str | None = None,
    target: str | None = None,
    output: str | Path | None = None,
    tick: Tick = silent,
    **options: Any,
) -> Result:
    """Run the whole chain; the same as `edgeprune compress`.

    Args:
        model: built-in name, `file.py:function`, `package.module:function` or `.pt2`; None: the built-in example.
        data: folder, `.npz`, `digits` or `file.py:function`.
        target: a name of `edgeprune targets` or a `.toml` file; None: this machine's CPU.
        output: the run directory; None: `runs/MODEL-TARGET`.
        tick: told how far it is.
        **options: the command's other options by name, as `macs=0.5`, `epochs=3`, `weights="net.safetensors"`.

    Raises:
        EdgepruneError: anything that the caller can mend.
    """
    asked = recipe_from({"model": model, "data": data, "target": target, **options})
    outcome = run_chain(asked, Path(output) if output is not None else default_folder(asked), tick, _warn)
    assert outcome.result is not None
    return outcome.result


def inspect(module: nn.Module, example_inputs: Tensor | tuple[Tensor], *, target: str | None = None) -> Inspection:
    """Look a module over: its groups of channels, what is frozen and why, and what its layers cost.

    Args:
        module: the network; it is not changed.
        example_inputs: a float tensor `[batch, ...]` as the network takes it.
        target: for its channel multiple and its milliseconds.
    """
    device = load_target(target) if target is not None else None
    return inspect_network(_traced(module, _tensor(example_inputs)), type(module).__name__, device)


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
    exact: bool = False,
    layers: Sequence[Mapping[str, Any]] = (),
    data: tuple[Tensor, Tensor] | None = None,
    target: str | None = None,
    precision: Literal["int8", "fp32"] = "int8",
    multiple: int | None = None,
    max_layer_sparsity: float = 0.95,
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
        method: `magnitude`, or `hap`, which needs `data`.
        pattern: `channel`, or a mask pattern: `2:4` or another N:M, `1x4` or another 1xN, `unstructured`. Masked
            weights are zero, and stay so in training with an optimizer that was given to `Network.hold`.
        keep: patterns of layer names whose channels stay, as `("head*",)`.
        attention: what an attention loses, whole `heads` or the same `dims` of every head.
        coupling: channels that meet in a sum go together, or (`union`) each layer is cut alone.
        exact: leave channels whole over which a norm or mean is taken.
        layers: rules as a recipe holds them, as `({"pattern": "layer1*", "max_sparsity": 0.3},)`.
        data: for `hap`: images `[n, ...]` as the network takes them, and labels `[n]`.
        target: a name of `edgeprune targets`, or a `.toml` file; its sparse kernels decide which layers a mask
            pattern takes.
        precision: in which the network will ship.
        multiple: widths are cut to multiples of it; None: the target's, 8 without a target.
        max_layer_sparsity: largest share of a layer's channels that may go.
        probes: Hutchinson probes of `hap`.
        seed: of the probes.

    Returns:
        a trainable module without the cut channels, in eval mode; fine-tune it. `Network.save` writes a `.pt2`.

    Raises:
        EdgepruneError: the module cannot be exported, the budget cannot be met, or a proof fails.
    """
    check_choices(attention, precision, multiple, max_layer_sparsity, probes, coupling)
    if method not in METHOD_NAMES:
        raise EdgepruneError(f"unknown method {method!r}. Known: {', '.join(METHOD_NAMES)}.")
    limits = {"macs": macs, "params": params, "sparsity": sparsity}
    limits |= {"size_mb": size_mb, "memory_mb": memory_mb, "latency_ms": latency_ms}
    form, device = parse_pattern(pattern), load_target(target) if target is not None else None
    zeros = None
    if form.masks:
        others = {"layers": bool(layers), "exact": exact, "attention": attention != "dims"}
        check_alone(form, others | {"coupling": coupling != "group"})
        zeros = zeros_asked(form, {name: value for name, value in limits.items() if value is not None})
        limits = {"sparsity": zeros}
    budget, rules = budget_from(limits, coupling), tuple(parse(LayerRule, dict(rule), "layers") for rule in layers)
    timed = str(latency_profile) if latency_profile is not None else None
    if device is not None and latency_ms is not None:
        check_latency(device, precision, timed)
    example = _tensor(example_inputs)
    traced = _traced(module, example)
    names = {name.rpartition(".")[0] for name, _ in traced.module.named_parameters()}
    matching = tuple(rule for rule in keep if any(fnmatchcase(name, rule) for name in names))
    for rule in set(keep) - set(matching):
        warnings.warn(f"keep {rule!r} matches no layer", stacklevel=2)
    if zeros is not None:
        scoring = Scoring(method, data, Probing(probes, len(data[0]) if data else 1, seed))
        masks = mask(traced, form, scoring, Share(zeros, max_layer_sparsity), device, matching)
        return Network.of(traced, pattern, masks.kept)
    ground = prunable(traced, matching, rules, attention, exact, coupling)
    ground = deployed(traced, ground, Deployment(precision, device, timed), budget.limits)
    found = None
    if method in NEEDS_CURVATURE:
        if data is None:
            raise EdgepruneError(f"{method} needs labelled images. Give data=(images, labels).")
        found = channel_traces(
            traced, ground.weights, data[0], data[1], probes, len(data[0]), seed, silent, lambda _: False
        )
    scores = METHODS[method](traced.module, ground.groups, found)
    multiple = multiple or (device.channel_multiple.value if device is not None else 8)
    widths = Limits(multiple, max_layer_sparsity, ordered(matching, rules))

    def chosen(free: list[Group]) -> Cuts:
        return cut_by.choose(ground, scores, budget, widths, free)

    done = compact_soundly(traced, ground.found, ground.groups, chosen, example[:8].to(device_of(traced)))
    for name, why in done.refused.items():
        warnings.warn(f"{name} is left whole: {why}", stacklevel=2)
    return Network.of(done.traced)


def load(path: str | Path) -> Network:
    """Read a `.pt2` that `Network.save` or `torch.export.save` wrote, to train it on or to go on with.

    Masks are no part of the file: a network pruned to a pattern has its zeros, but `hold` does not know them.

    Raises:
        EdgepruneError: no `.pt2` of one image tensor.
    """
    return Network.of(read(Path(path)))


def quantize(
    module: nn.Module, example_inputs: Tensor | tuple[Tensor], calibration: Iterable[Tensor], target: str
) -> Network:
    """Fold BatchNorm and put fake quantizers in, as the target's runtime wants them.

    Args:
        module: the trained network; it is not changed.
        example_inputs: a float tensor `[batch, ...]`.
        calibration: batches of images that set the ranges.
        target: a name of `edgeprune targets`, or a `.toml` file.

    Returns:
        a trainable module whose outputs are those of the INT8 network; in training mode the ranges follow the data.
    """
    device = load_target(target)
    prepared = prepare(
        _traced(module, _tensor(example_inputs)),
        device.activations.value,
        device.runtime,
        device.weight_bits.value,
        calibration,
    )
    return Network.of(prepared, *_masks(module))


def export(
    module: nn.Module,
    example_inputs: Tensor | tuple[Tensor],
    folder: str | Path,
    target: str,
    *,
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> Bundle:
    """Write a bundle for a target from a network, INT8 where it comes from `quantize`.

    Args:
        module: the network to ship.
        example_inputs: images `[n, C, S, S]` as the network takes them; they become the golden inputs.
        folder: where; one that stands there is replaced.
        target: a name of `edgeprune targets`, or a `.toml` file.
        labels: class names, in the order of the outputs.
        mean: per channel, of pixels in 0..1, as used for `example_inputs`.
        std: likewise.
    """
    shipping = Shipping(load_target(target), tuple(labels), tuple(mean), tuple(std), *_masks(module))
    example = _tensor(example_inputs)
    return ship(_traced(module, example), example, Path(folder), shipping)


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=2)


def _masks(module: nn.Module) -> tuple[str, dict[str, Tensor]]:
    """The pattern of a network that `prune` returned, and the weights that it keeps."""
    return (module.pattern, module.kept) if isinstance(module, Network) else ("channel", {})


def _tensor(example_inputs: Tensor | tuple[Tensor]) -> Tensor:
    """The one tensor, also where it comes as the tuple that torch.export asks for."""
    single = isinstance(example_inputs, tuple) and len(example_inputs) == 1
    tensor = example_inputs[0] if single else example_inputs
    if not isinstance(tensor, Tensor) or tensor.dim() < 2:
        raise EdgepruneError("example_inputs must be one tensor with a batch axis, as torch.randn(1, 3, 224, 224).")
    return tensor


def _traced(module: nn.Module, example_inputs: Tensor) -> Traced:
    if isinstance(module, Network):
        copy = deepcopy(module)
        copy.train(False)
        return Traced(copy, module.input_shape)
    with torch.no_grad():
        return trace(module, tuple(example_inputs.shape[1:]))
