"""Which layers stay in higher precision: as the recipe names them, and as few as `--int8-max-drop` takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.batches import sample
from edgeprune.model.evaluate import accuracy
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.mixed import rounding_costs, within_budget
from edgeprune.pipeline.steps import NETWORK, TRAINED, Work, fit_rounding, scheme_of, write_history
from edgeprune.quantization.diagnose import diagnose
from edgeprune.quantization.fake import Quantizer, enable
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import insert
from edgeprune.quantization.units import leave, units

DIAGNOSIS, PRECISION = "diagnosis.json", "precision.json"
WORST = 5
"""Of the culprits, for which the accuracy is measured that leaving each in higher precision gains."""
IMAGES = 32
ROUNDING = 1e-9
"""Accuracies are shares of whole images: a drop of one more than allowed is seen, a rounding is not."""


def reopen(work: Work, tuned: Stage, quantized: Stage) -> Traced:
    """The network that a `quantize` stage left, with its quantizers not frozen."""
    network = insert(work.load(tuned), scheme_of(work.recipe, work.target))
    state = torch.load(quantized.path / TRAINED, weights_only=True)
    for name, part in network.module.named_modules():
        scale = state.get(f"{name}.log_scale")
        if isinstance(part, Quantizer) and scale is not None:
            part.hold_scale(scale.exp(), learned=False)
    network.module.load_state_dict(state)
    return network


def diagnosis(work: Work, tuned: Stage, quantized: Stage) -> Stage:
    """Every layer's noise, ranked, and what leaving each of the worst in higher precision gains."""

    def make(folder: Path) -> None:
        network = reopen(work, tuned, quantized)
        x, _ = sample(work.data.train, work.data.preprocessing, IMAGES, work.recipe.seed)
        runtime = work.target.runtime
        culprits = diagnose(network, x.split(8), runtime, work.tick)
        in_int8 = _left(work, network, [])
        enable(network.module, False)
        in_float = _accuracy(work, network)
        enable(network.module, True)
        rows: list[dict[str, Any]] = []
        for rank, culprit in enumerate(culprits):
            gained = None
            if rank < WORST:
                gained = _left(work, network, [culprit.unit]) - in_int8
            rows.append({**asdict(culprit), "gained": gained})
        found = {"int8": in_int8, "float": in_float, "count": len(work.data.val), "layers": rows}
        (folder / DIAGNOSIS).write_text(json.dumps(found, indent=2), encoding="utf-8")

    return work.run.stage("diagnose", [IMAGES, WORST], [tuned, quantized], make, work.data.fingerprint)


def settle(work: Work, tuned: Stage, quantized: Stage) -> tuple[Stage, ...]:
    """The stages that leave layers in higher precision, the last one with the network; none where no one asks."""
    asked = work.recipe.int8
    if work.recipe.precision == "fp32" or not asked.settles:
        return ()
    diagnosed = diagnosis(work, tuned, quantized)

    def make(folder: Path) -> None:
        network = reopen(work, tuned, quantized)
        runtime = work.target.runtime
        every = units(network.module, runtime)
        ranked = [row["unit"] for row in read_diagnosis(diagnosed)["layers"]]
        costs: dict[str, float] = {}
        if asked.budgeted or asked.rank == "hessian":
            costs = rounding_costs(work, work.load(tuned), network, every)
        if asked.rank == "hessian":
            ranked.sort(key=lambda name: -costs.get(name, 0.0))  # what has no weights follows in its own order
        kept = _named(asked.keep, [*every])
        reference = _accuracy(work, work.load(tuned)) if asked.max_drop is not None else None
        order = [*kept, *(name for name in ranked if name not in kept)]
        chosen, reached = kept, None
        if asked.max_drop is not None and reference is not None:
            limit = reference - asked.max_drop - ROUNDING
            chosen, reached = _fewest(order, len(kept), lambda names: _left(work, network, names), limit)
            if reached < limit:
                raise EdgepruneError(
                    f"--int8-max-drop {asked.max_drop:g}: with every layer in float validation accuracy is still "
                    f"{reference - reached:.4f} below the pruned network's. Train longer with --qat-epochs, or allow "
                    "more."
                )
        if asked.budgeted:
            chosen = [*kept, *within_budget(work, work.load(tuned), network, every, costs, kept)]
        lifted, parted = _lifted(work, network, chosen)
        found = {
            "left": chosen,
            "rounding_costs": costs,
            "parted": [*parted],
            "reference": reference,
            "reached": reached,
        }
        (folder / PRECISION).write_text(json.dumps(found, indent=2), encoding="utf-8")
        save(freeze(lifted), folder / NETWORK)
        write_history(folder, reached if reached is not None else _accuracy(work, lifted))

    named = {"max_drop", "keep", "rank", "size_mb", "latency_ms"}
    settings = [asked.model_dump(mode="json", include=named), work.recipe.curvature.model_dump(mode="json")]
    return diagnosed, work.run.stage("precision", settings, [tuned, quantized, diagnosed], make, work.data.fingerprint)


def _fewest(
    order: Sequence[str], least: int, reached: Callable[[list[str]], float], limit: float
) -> tuple[list[str], float]:
    """The shortest beginning of an order that reaches the limit, less those of it that it can do without.

    Twice as many are tried until it does, then what lies between is halved; the first `least` always go.
    """
    known: dict[tuple[str, ...], float] = {}

    def of(names: Sequence[str]) -> float:
        """Each choice is tried once: it costs a run over the validation images."""
        key = tuple(name for name in order if name in names)
        if key not in known:
            known[key] = reached([*key])
        return known[key]

    below, count = least, least
    while of(order[:count]) < limit and count < len(order):
        below, count = count, min(max(1, 2 * count), len(order))
    while of(order[:count]) >= limit and count - below > 1:
        middle = (below + count) // 2
        below, count = (below, middle) if of(order[:middle]) >= limit else (middle, count)
    chosen = [*order[:count]]
    for name in reversed(chosen[least:]):
        fewer = [other for other in chosen if other != name]
        if len(fewer) > least and of(fewer) >= limit:
            chosen = fewer
    return chosen, of(chosen)


def _named(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    found = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise EdgepruneError(f"--int8-keep {pattern!r}: no layer in INT8 has such a name. See edgeprune diagnose.")
    return found


def _left(work: Work, network: Traced, names: list[str]) -> float:
    return _accuracy(work, _lifted(work, network, names)[0])


def _lifted(work: Work, network: Traced, names: list[str]) -> tuple[Traced, tuple[str, ...]]:
    """The network with these units in higher precision, and what runs in float for it; untrained, fitted anew."""
    lifted, parted = leave(network, names, work.target.runtime)
    if not work.recipe.training.qat_epochs:
        fit_rounding(work, lifted)
    return lifted, parted


def _accuracy(work: Work, network: Traced) -> float:
    return accuracy(network.module, work.data.val, work.data.preprocessing, work.tick).value


def read_diagnosis(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage.path / DIAGNOSIS).read_text(encoding="utf-8"))
    return found


def read_precision(stage: Stage) -> dict[str, Any]:
    """What stays in higher precision in the network that a stage left; empty where it is all in INT8."""
    path = stage.path / PRECISION
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def precision_of(work: Work, final: Stage) -> str:
    """Of the network that a stage left: a recipe's INT8 is refused where it is no faster."""
    return (
        work.recipe.precision
        if work.recipe.precision == "fp32"
        else str(read_precision(final).get("precision", "int8"))
    )
