"""From scores and a budget to an allocation: which strength of the curvature, then how much each part keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from edgeprune.allocation.bench import Bench, Judge
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.allocation.problem import Problem
from edgeprune.allocation.projection import Free
from edgeprune.allocation.search import SEARCHERS, Found, search
from edgeprune.allocation.trials import Trials, plain_reward
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.spec.methods import Allocating, Form

STRENGTHS: dict[Form, tuple[float, ...]] = {
    "power": (0.0, 0.125, 0.25, 0.375, 0.5),
    "rank": (0.0, 0.25, 0.5, 1.0, 2.0),
    "mean": (0.0, 0.025, 0.05, 0.1, 0.2),
    "raw": (0.0, 0.1, 1.0, 10.0, 100.0),
}
"""Of the curvature, by its form; the best on fresh images is taken, of equal ones the smallest."""
Images = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pictures:
    """Images and labels that trials are judged on, and others for what is chosen among the best."""

    trials: Images
    fresh: Images


@dataclass(frozen=True)
class Strength:
    """The one that is taken, and what LAMP's allocation was worth on fresh images with each that was tried."""

    taken: float
    rewards: dict[float, float]


def choose_strength(
    asked: Allocating, traced: Traced, pictures: Pictures, cut: Callable[[float], tuple[Lot, Kept]]
) -> Strength:
    """The strength that a recipe says, or the best of five.

    Args:
        asked: the recipe's settings.
        traced: the network.
        pictures: of which the fresh ones are used.
        cut: from a strength to the parts, and how much of each stays without a search.
    """
    if asked.strength != "search":
        return Strength(asked.strength, {})
    rewards = {}
    for strength in STRENGTHS[asked.form]:
        lot, kept = cut(strength)
        rewards[strength] = plain_reward(Bench(traced, lot, *pictures.fresh)([kept])[0], 0.0)
    return Strength(max(rewards, key=lambda strength: rewards[strength]), rewards)


def allocate(
    traced: Traced,
    problem: Problem,
    pictures: Pictures,
    asked: Allocating,
    seed: int,
    file: Path | None = None,
    tick: Tick = silent,
) -> Found:
    """Divide the budget among the parts, by a rule or by a search.

    Args:
        traced: the network, in eval mode; it is not changed.
        problem: the parts and the budget.
        pictures: what trials are judged on.
        asked: the recipe's settings.
        seed: of the search.
        file: where trials are written down, and gone on from.
        tick: told how far it is.

    Raises:
        EdgepruneError: a package that the search needs is not installed.
    """
    if asked.allocator not in SEARCHERS:
        return Found(problem.by_rule(asked.allocator), "done")
    check_installed(asked)
    if asked.reward == "literal":
        problem = replace(problem, goal=Free(problem.lot))
    seconds = 60 * asked.minutes if asked.minutes is not None else float("inf")
    with _judge(traced, problem.lot, pictures.trials, asked) as judge:
        trials = Trials(problem.lot, judge, asked.reward, asked.evaluations, seconds, file, tick)
        return search(asked.allocator, problem, trials, Bench(traced, problem.lot, *pictures.fresh), seed)


def _judge(traced: Traced, lot: Lot, images: Images, asked: Allocating) -> AbstractContextManager[Judge]:
    if asked.ray is None:
        return nullcontext(Bench(traced, lot, *images, asked.half))
    from edgeprune.allocation.workers import ray_judge  # which needs the extra `ray`

    return ray_judge(traced, lot, *images, asked.ray, asked.half)


def check_installed(asked: Allocating) -> None:
    """Refuse a search whose packages are not here, before anything else is done for it.

    Raises:
        EdgepruneError: the text says how to install them, and what does without.
    """
    needed = (
        [("stable_baselines3", "rl", "--allocator ppo", "take --allocator cem")] if asked.allocator == "ppo" else []
    )
    if asked.ray is not None:
        needed.append(("ray", "ray", "--ray", "leave it out"))
    for package, extra, option, otherwise in needed:
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise EdgepruneError(f"{option} needs {name}. pip install 'edgeprune[{extra}]', or {otherwise}.")
