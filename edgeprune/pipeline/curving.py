"""The curvature stage, and curvature as a file of its own: estimated once, used under any budget."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edgeprune.curvature.curvature import Curvature, load_curvature, save_curvature
from edgeprune.curvature.density import spectral_density
from edgeprune.curvature.low_rank import Remainder, low_rank, save_low_rank
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.team import Team
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.batches import sample
from edgeprune.model.content import content_hash
from edgeprune.model.data import Data, load_data
from edgeprune.model.device import move, pick_device
from edgeprune.model.load import default_image_size, open_model
from edgeprune.model.traced import Traced
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import check_reachable, check_source, freezing, open_ground
from edgeprune.pipeline.steps import EIGENPAIRS, TRACES, Work
from edgeprune.progress import Tick
from edgeprune.pruning import certainty
from edgeprune.pruning.methods import METHODS, NEEDS_CURVATURE
from edgeprune.pruning.plan import Prunable, survey
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.result import Spectrum

SPECTRUM = "spectrum.json"
LANCZOS_PROBES, LANCZOS_STEPS = 2, 30


def probing(recipe: Recipe) -> Probing:
    """How a recipe wants its curvature."""
    asked = recipe.curvature
    return Probing(asked.probes, asked.batch_size, recipe.seed, asked.matrix, asked.precision, asked.memory_mb)


def curvature(work: Work, before: Stage, whole: bool = True) -> Stage | None:
    """Per-channel Hessian traces, for methods that score by them; eigenpairs for CAMP-HiVe.

    `whole`: nothing was cut before.
    """
    recipe = work.recipe
    if recipe.method == "camp-hive" and recipe.camp_hive.ranked_by(recipe.pattern) != "magnitude":
        return _eigenpairs(work, before, whole)
    if recipe.method not in NEEDS_CURVATURE:
        return None

    def make(folder: Path) -> None:
        traced = work.load(before)
        ground = open_ground(traced, recipe, work.target)
        if whole:
            check_reachable(ground, recipe, work.target)  # before the probes, which take minutes
        if recipe.curvature.file is not None and whole:
            found = from_file(Path(recipe.curvature.file), traced, work.data, ground.weights)
        else:
            found = _estimate(traced, ground.weights, work.data, recipe, work.tick, ground, folder / "partial", Team())
        save_curvature(found, folder / TRACES)
        (folder / "partial").unlink(missing_ok=True)
        if recipe.curvature.spectrum and whole:
            density = spectrum(traced, [*ground.weights], work.data, recipe, work.tick)
            (folder / SPECTRUM).write_text(density.model_dump_json(), encoding="utf-8")

    # No budget in the key: another one costs no new probe.
    settings = [recipe.curvature.model_dump(mode="json"), recipe.seed, recipe.trace_floor, freezing(recipe)]
    return work.run.stage("curvature", settings, [before], make)


def _eigenpairs(work: Work, before: Stage, whole: bool) -> Stage:
    """The loss's curvature by all prunable weights, as CAMP-HiVe takes it."""
    recipe, asked = work.recipe, work.recipe.camp_hive
    how = replace(probing(recipe), batch_size=asked.batch_size, memory_mb=asked.memory_mb)
    count = min(asked.eigenpairs, len(work.data.classes))
    remainder: Remainder = "fisher" if asked.ranked_by("channel") == "lowrank+fisher" else "mean"

    def make(folder: Path) -> None:
        traced = work.load(before)
        ground = open_ground(traced, recipe, work.target)
        if whole:
            check_reachable(ground, recipe, work.target)
        weights = [*ground.weights]
        live = torch.ones(sum(traced.module.get_parameter(name).numel() for name in weights), dtype=torch.bool)
        x, y = sample(work.data.train, work.data.preprocessing, asked.curved_images, recipe.seed)
        save_low_rank(low_rank(traced, weights, live, x, y, count, how, remainder, tick=work.tick), folder / EIGENPAIRS)

    probes = [recipe.curvature.matrix, recipe.curvature.precision]
    settings = [remainder, count, asked.curved_images, asked.batch_size, probes, recipe.seed, freezing(recipe)]
    return work.run.stage("curvature", settings, [before], make)


def estimate_file(recipe: Recipe, path: Path, tick: Tick, team: Team) -> Curvature:
    """Estimate the traces of all layers of a recipe's network, and write them to a file that any budget can use.

    What is there of it already, from a call that was interrupted, is gone on from.

    Raises:
        EdgepruneError: anything that the user can mend.
    """
    check_source(recipe)
    size = recipe.source.image_size or default_image_size(recipe.source.model)
    data = load_data(recipe.source, size, recipe.seed, tick)
    device = pick_device(recipe.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    traced = open_model(recipe.source, len(data.classes), data.channels, data.preprocessing.crop, recipe.seed)
    move(traced, device)
    ground = survey(traced, attention=recipe.attention)
    parameters = dict(traced.module.named_parameters())
    weights = {name: axis for name, axis in ground.found.weights.items() if name in parameters}
    partial = path.with_name(f".{path.name}.partial")
    found = _estimate(traced, weights, data, recipe, tick, ground, partial, team)
    if team.leads:
        _write(found, path)
        partial.unlink(missing_ok=True)
    return found


def _estimate(
    traced: Traced,
    weights: Mapping[str, int],
    data: Data,
    recipe: Recipe,
    tick: Tick,
    ground: Prunable,
    partial: Path,
    team: Team,
) -> Curvature:
    """Probe until the order of channels is certain enough; every round is kept in a partial file."""
    x, y = sample(data.train, data.preprocessing, recipe.curvature.images, recipe.seed)
    settings = {"images used": str(len(x)), "probing": repr(probing(recipe)), "weights": repr(sorted(weights))}
    prints = fingerprint(traced, data)
    asked = prints | settings

    def settled(found: Curvature) -> bool:
        if team.leads:
            _write(replace(found, fingerprint=asked), partial)
        scores = METHODS["hap"](traced.module, ground.groups, found, recipe.trace_floor)
        return certainty.certain_share(scores, recipe.curvature.confidence) >= recipe.curvature.settled

    begun = _begun(partial, asked)
    found = channel_traces(traced, weights, x, y, probing(recipe), tick, settled, team=team, begun=begun)
    return replace(found, fingerprint=prints)


def _begun(partial: Path, asked: dict[str, str]) -> Curvature | None:
    """What an interrupted call left, if it asked for the same."""
    try:
        found = load_curvature(partial)
    except EdgepruneError:
        return None
    return found if found.fingerprint == asked else None


def fingerprint(traced: Traced, data: Data) -> dict[str, str]:
    """What a curvature is of, whatever the settings it was estimated with."""
    return {"network": content_hash(traced), "images": data.fingerprint}


def from_file(path: Path, traced: Traced, data: Data, weights: Mapping[str, int]) -> Curvature:
    """Read the traces of the named weights (name -> the axis of their output channels).

    Raises:
        EdgepruneError: it is of another network, of other images, or lacks a weight.
    """
    found, prints = load_curvature(path), fingerprint(traced, data)
    parameters = {name: traced.module.get_parameter(name) for name in weights}
    for name, value in prints.items():
        if found.fingerprint.get(name) != value:
            what = {"network": "another network", "images": "other images (or of another seed)"}[name]
            raise EdgepruneError(f"{path}: is the curvature of {what}. Make it anew with edgeprune curvature.")
    shapes = {name: (found.probes, parameter.shape[weights[name]]) for name, parameter in parameters.items()}
    for name, shape in shapes.items():
        samples = found.per_probe.get(name)
        if samples is None or tuple(samples.shape) != shape or not bool(samples.isfinite().all()):
            raise EdgepruneError(f"{path}: has no sound traces of {name}. Make it anew with edgeprune curvature.")
    return replace(found, per_probe={name: found.per_probe[name] for name in weights})


def spectrum(traced: Traced, weights: list[str], data: Data, recipe: Recipe, tick: Tick) -> Spectrum:
    """The density of the Hessian's eigenvalues by all prunable weights."""
    x, y = sample(data.train, data.preprocessing, recipe.curvature.images, recipe.seed)
    matrix = Matrix(traced, weights, x, y, replace(probing(recipe), precision="fp32"))
    done, total = 0, LANCZOS_PROBES * LANCZOS_STEPS

    def multiply(block: Tensor) -> Tensor:
        nonlocal done
        done += 1
        tick("spectrum", done, total)
        return matrix.product(block)

    found = spectral_density(multiply, matrix.size, LANCZOS_PROBES, LANCZOS_STEPS, recipe.seed)
    seen = found.nodes[found.weights > 0]
    values, heights = found.curve()
    return Spectrum(
        matrix=recipe.curvature.matrix,
        weights=matrix.size,
        images=len(x),
        products=done,
        smallest=float(seen.min()),
        largest=float(seen.max()),
        values=tuple(values.tolist()),
        density=tuple(heights.tolist()),
    )


def read_spectrum(stage: Stage | None) -> Spectrum | None:
    """What a curvature stage found, where it was asked."""
    path = stage.path / SPECTRUM if stage is not None else None
    if path is None or not path.is_file():
        return None
    return Spectrum.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _write(found: Curvature, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.writing")
    save_curvature(found, beside)
    os.replace(beside, path)
