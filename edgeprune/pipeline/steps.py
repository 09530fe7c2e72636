"""The host's stages up to the quantized network: each reads files, and writes one folder."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeprune.model.batches import sample
from edgeprune.model.content import content_hash
from edgeprune.model.data import Data
from edgeprune.model.device import move, pick_device
from edgeprune.model.load import open_model
from edgeprune.model.traced import Traced, load, save
from edgeprune.model.whole import write_whole
from edgeprune.pipeline.folder import RunFolder, Stage
from edgeprune.pipeline.held import after_step
from edgeprune.progress import Tell, Tick, untold
from edgeprune.quantization.fake import observe
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.quantization.refine import refine
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.target import Target
from edgeprune.train.batch_norm import reestimate
from edgeprune.train.fit import Plan, fit

NETWORK, HISTORY = "network.pt2", "history.json"
TRACES, EIGENPAIRS = "curvature.safetensors", "eigenpairs.safetensors"
CHOOSING = ("max_drop", "keep", "rank", "size_mb", "latency_ms", "anyway")
"""Settings of INT8 that say what becomes of the quantized network, not how it comes about."""
TRAINED = "trained.pt"
"""What a network with quantizers holds, before they are frozen."""
CPU = torch.device("cpu")
"""Every stage leaves its network there, so that any machine can go on with it."""
REESTIMATION_IMAGES = 2048


@dataclass(frozen=True)
class Work:
    """What every stage needs: where, with which images, for which device, and whom to tell."""

    run: RunFolder
    data: Data
    target: Target
    tick: Tick
    tell: Tell = untold

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    def load(self, stage: Stage) -> Traced:
        """The network that a stage left, on the device where the work is done."""
        return move(network(stage), pick_device(self.recipe.device))


def dense(work: Work) -> Stage:
    """The network as it comes, exported; trained first where the recipe asks for it."""
    recipe = work.recipe

    def opened() -> Traced:
        size = work.data.preprocessing.crop
        return open_model(recipe.source, len(work.data.classes), work.data.channels, size, recipe.seed)

    # What a user's function returns may depend on files that only it knows, so it is asked every time.
    mine = opened() if ":" in recipe.source.model else None

    def make(folder: Path) -> None:
        traced = mine or opened()
        if recipe.training.dense_epochs:
            plan = _plan(
                work, "training the dense network", recipe.training.dense_epochs, recipe.training.dense_learning_rate
            )
            move(traced, pick_device(recipe.device))
            fitted = fit(traced, work.data, plan, None, work.tick, folder / "state.pt")
            traced = fitted.traced
            _write(folder / HISTORY, fitted.history)
        save(move(traced, CPU), folder / NETWORK)

    trains = recipe.training.dense_epochs > 0
    settings = [
        _dump(recipe.source),
        recipe.seed,
        _training(work, "epochs", "learning_rate", "qat_") if trains else None,
    ]
    return work.run.stage(
        "dense", settings, [], make, work.data.fingerprint + (content_hash(mine) if mine else _named_files(recipe))
    )


def finetune(work: Work, before: Stage, pruned: Stage) -> Stage:
    """Re-estimate BatchNorm, then train what is left, with the dense network as teacher."""
    return _tune(work, before, pruned, "finetune", "fine-tuning", work.recipe.training.epochs)


def trial(work: Work, before: Stage, pruned: Stage, label: str) -> Stage:
    """A short `finetune`, to tell whether a long one is worth while."""
    return _tune(work, before, pruned, "trial", label, work.recipe.search.epochs)


def between(work: Work, before: Stage, pruned: Stage, label: str, epochs: float) -> Stage:
    """A training between two cuts, of masks that hold; of half an epoch, half of the images are seen."""
    return _tune(work, before, pruned, "between", label, epochs)


def _tune(work: Work, before: Stage, pruned: Stage, name: str, label: str, epochs: float) -> Stage:
    # A cut that rebuilt layers has fitted them to the statistics as they are.
    reestimates = not work.recipe.fits_statistics

    def make(folder: Path) -> None:
        traced = work.load(pruned)
        if reestimates:
            reestimate(traced, images(work, REESTIMATION_IMAGES))
        plan = _plan(work, label, epochs, work.recipe.training.learning_rate)
        teacher, hold = work.load(before), after_step(pruned)
        fitted = fit(traced, work.data, plan, teacher, work.tick, folder / "state.pt", after_step=hold)
        save(move(fitted.traced, CPU), folder / NETWORK)
        _write(folder / HISTORY, fitted.history)

    settings = [_training(work, "qat_", "dense_") | {"epochs": epochs, "reestimates": reestimates}, work.recipe.seed]
    return work.run.stage(name, settings, [before, pruned], make)


def best_accuracy(stage: Stage) -> float:
    """The validation accuracy of the network that a training stage left."""
    history = json.loads((stage.path / HISTORY).read_text(encoding="utf-8"))
    return float(max(row["val_accuracy"] for row in history))


def write_history(folder: Path, val_accuracy: float) -> None:
    """What `best_accuracy` reads, of a stage that trains nothing."""
    _write(folder / HISTORY, [{"epoch": 0, "val_accuracy": val_accuracy}])


def quantize(work: Work, before: Stage, pruned: Stage, tuned: Stage) -> Stage:
    """Fold BatchNorm, place quantizers as the target's runtime wants them, and train with them in."""
    recipe, training, target = work.recipe, work.recipe.training, work.target
    if recipe.precision == "fp32":
        return tuned

    def make(folder: Path) -> None:
        scheme = scheme_of(recipe, target)
        ready = prepare(work.load(tuned), scheme, images(work, recipe.calibration_images))
        untrained = None if training.qat_epochs else copy.deepcopy(ready.module.state_dict())
        fit_rounding(work, ready)
        # BatchNorm is folded: relative to the weights, the layers' gradients now differ a hundredfold.
        plan = replace(
            _plan(work, "quantization-aware training", training.qat_epochs, training.qat_learning_rate),
            optimizer="adam",
        )
        teacher = work.load(before)
        hold = after_step(pruned)
        fitted = fit(ready, work.data, plan, teacher, work.tick, folder / "state.pt", observe, hold)
        move(fitted.traced, CPU)
        # A layer that is left in float later must not have been fitted to roundings: that is done anew then.
        write_whole(untrained or fitted.traced.module.state_dict(), folder / TRAINED)
        save(freeze(fitted.traced), folder / NETWORK)
        _write(folder / HISTORY, fitted.history)

    settings = [
        _training(work, "epochs", "learning_rate", "dense_"),
        _dump(target),
        recipe.calibration_images,
        recipe.seed,
        recipe.int8.model_dump(mode="json", exclude={*CHOOSING}),
    ]
    return work.run.stage("quantize", settings, [before, tuned], make)


def scheme_of(recipe: Recipe, target: Target) -> Scheme:
    """How a recipe's network becomes INT8 on a target."""
    asked = recipe.int8
    return Scheme(
        activations=target.activations.value,
        runtime=target.runtime,
        weight_bits=target.weight_bits.value,
        ranges=asked.ranges or ("ema" if recipe.training.qat_epochs else "mse"),
        equalized=asked.equalize,
        learned=asked.learned_scales,
        outputs=asked.outputs,
    )


def fit_rounding(work: Work, ready: Traced) -> None:
    """Fit rounding and biases to the calibration images in place, where the recipe asks for it."""
    recipe, asked = work.recipe, work.recipe.int8
    untrained = recipe.training.qat_epochs == 0
    biases = untrained if asked.correct_biases is None else asked.correct_biases
    steps = asked.rounding_steps if untrained else 0
    if steps or biases:
        x, _ = sample(work.data.train, work.data.preprocessing, asked.fitting_images, recipe.seed)
        refine(ready, x, work.target.runtime, steps, biases, work.tick)


def _plan(work: Work, name: str, epochs: float, learning_rate: float) -> Plan:
    training = work.recipe.training
    return Plan(
        name=name,
        optimizer="sgd",
        epochs=math.ceil(epochs),
        share=epochs / max(1, math.ceil(epochs)) or 1.0,
        batch_size=training.batch_size,
        learning_rate=learning_rate,
        warmup=training.warmup,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        distill=training.distill,
        temperature=training.temperature,
        seed=work.recipe.seed,
        augment=work.data.augment,
    )


def images(work: Work, count: int) -> Iterator[Tensor]:
    """Unaugmented training images, the same ones at every call, in batches."""
    x, _ = sample(work.data.train, work.data.preprocessing, count, work.recipe.seed)
    # No batch of one: statistics of a batch need two.
    sizes = max(1, round(len(x) / 128))
    yield from x.tensor_split(sizes)


def _named_files(recipe: Recipe) -> str:
    """A hash of the files that the recipe names: another file under the same name is another run."""
    hasher = hashlib.sha256()
    for name in (recipe.source.model.rsplit(":", 1)[0], recipe.source.model, recipe.source.weights):
        path = Path(name) if name else None
        if path is not None and path.is_file():
            hasher.update(path.read_bytes())
    return hasher.hexdigest()


def _training(work: Work, *others: str) -> dict[str, Any]:
    """The training settings without those (by how their names begin) that only concern other stages."""
    settings = _dump(work.recipe.training)
    return {name: value for name, value in settings.items() if not name.startswith(others)}


def _dump(record: Any) -> Any:
    return record.model_dump(mode="json", by_alias=True)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def network(stage: Stage) -> Traced:
    """The network that a stage left."""
    return load(stage.path / NETWORK)
