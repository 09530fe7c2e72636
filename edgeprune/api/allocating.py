"""AMP-HASA on a module that is at hand."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor

from edgeprune.allocation.allocate import Pictures, allocate, check_installed, choose_strength
from edgeprune.allocation.nm import nm_lot
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.search import Found
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced
from edgeprune.pipeline.allocated import Cutting, Masking, diagonals, weighing
from edgeprune.progress import silent
from edgeprune.pruning import coupling
from edgeprune.pruning.budget import bounds_of
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.eligible import Eligible
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.masks import apply_masks
from edgeprune.pruning.plan import Prunable
from edgeprune.reconstruction.snows import Snows, snows
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Allocating, MethodName
from edgeprune.spec.pattern import Pattern
from edgeprune.spec.recipe import Coupling
from edgeprune.train.network import Network


@dataclass(frozen=True)
class Asked:
    """Settings, images `[n, ...]` with labels `[n]`, and how curvature is estimated."""

    settings: Allocating
    data: tuple[Tensor, Tensor]
    probing: Probing

    @property
    def pictures(self) -> Pictures:
        """Half of the images for the trials of a search, as many at most as the settings say; others for its end."""
        x, y = self.data
        half = max(1, len(x) // 2)
        first, second = min(half, self.settings.images), min(len(x) - half, self.settings.fresh_images)
        if second < 1:
            raise EdgepruneError("amp-hasa needs two images at least, and had better have thousands. Give more data.")
        return Pictures((x[:first], y[:first]), (x[half : half + second], y[half : half + second]))


def check(
    method: MethodName,
    settings: Allocating,
    data: tuple[Tensor, Tensor] | None,
    probing: Probing,
    coupled: Coupling,
    implant_ratio: float,
) -> Asked | None:
    """What is asked of AMP-HASA, where it is the method; what cannot be done is refused before anything is estimated.

    Raises:
        EdgepruneError: no data, cycles, settings of or for other methods, or a package that is missing.
    """
    if method != "amp-hasa":
        if settings != Allocating():
            raise EdgepruneError("amp_hasa belongs to method='amp-hasa'. Give it too, or leave amp_hasa out.")
        return None
    if data is None:
        raise EdgepruneError("amp-hasa needs labelled images. Give data=(images, labels).")
    if settings.cycles > 1:
        raise EdgepruneError("cycles need a training between them: prune and train in turn, or use edgeprune.compress.")
    if coupled != "group" or implant_ratio:
        raise EdgepruneError("amp-hasa cuts groups of channels, without implants. Leave coupling and implants out.")
    check_installed(settings)
    return Asked(settings, data, probing)


def masked(
    traced: Traced, found: Eligible, pattern: Pattern, zeros: float, asked: Asked, rebuilding: Snows | None
) -> Network:
    """A copy with its weights masked, and rebuilt where that is asked; the caller's weights stay."""
    settings, pictures = asked.settings, asked.pictures
    curved = diagonals(traced, found.weights, settings.curvature, asked.data, asked.probing)
    masking = Masking(traced, curved, pattern, zeros)
    if pattern.kind == "n:m":

        def cut(strength: float) -> tuple[Lot, Kept]:
            return nm_lot(masking.scores(weighing(settings, strength)), pattern)

        lot, kept = cut(choose_strength(settings, traced, pictures, cut).taken)
    else:
        problem, result = _divided(traced, masking, asked, pictures)
        lot, kept = problem.lot, result.kept
    masks = {name: mask.cpu().contiguous() for name, mask in lot.masks(kept).items()}
    twin = Traced(deepcopy(traced.module), traced.input_shape)
    if rebuilding is not None:
        snows(twin, traced, masks, asked.data[0], rebuilding)
    else:
        apply_masks(twin.module, masks)
    return Network.of(twin, str(pattern), masks)


def cutter(
    traced: Traced, ground: Prunable, budget: Budget, limits: Limits, known: Curvature | None, asked: Asked
) -> Callable[[list[Group]], Cuts]:
    """What chooses the cuts among groups that are free, once the budget is divided among all."""
    coupling.check(ground, budget, limits)
    curved = known or channel_traces(traced, ground.weights, *asked.data, asked.probing, silent)
    posed = Cutting(traced, ground, curved, limits, tuple(bounds_of(ground.cost, budget)))
    problem, result = _divided(traced, posed, asked, asked.pictures)
    return lambda free: posed.cuts(problem, result.kept, free)


def _divided(traced: Traced, posed: Masking | Cutting, asked: Asked, pictures: Pictures) -> tuple[Problem, Found]:
    def by_lamp(strength: float) -> tuple[Lot, Kept]:
        problem = posed.problem(asked.settings, strength)
        return problem.lot, problem.by_rule("lamp")

    strength = choose_strength(asked.settings, traced, pictures, by_lamp)
    problem = posed.problem(asked.settings, strength.taken)
    return problem, allocate(traced, problem, pictures, asked.settings, asked.probing.seed)
