"""The one training loop: for the dense example, after pruning, and for quantization."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, fx

from edgeprune.errors import EdgepruneError
from edgeprune.model.batches import train_batches
from edgeprune.model.data import Augment, Data
from edgeprune.model.evaluate import accuracy
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick
from edgeprune.train.checkpoint import State, read_state, write_state
from edgeprune.train.hold import AfterStep
from edgeprune.train.loss import distillation
from edgeprune.train.modes import set_training

CHECKED = 20
"""Batches whose losses are looked at together: each look makes a GPU wait for the processor."""


@dataclass(frozen=True)
class Plan:
    """How to train. `name` labels the progress; `momentum` is SGD's, Adam has its usual ones."""

    name: str
    optimizer: Literal["sgd", "adam"]
    epochs: int
    batch_size: int
    learning_rate: float
    warmup: float
    """Share of the steps over which the rate rises from nothing."""
    momentum: float
    weight_decay: float
    distill: float
    temperature: float
    seed: int
    augment: Augment
    share: float = 1.0
    """Of the images, that an epoch sees."""


@dataclass(frozen=True)
class Fitted:
    """The network of the epoch with the best validation accuracy; `history` has one row per epoch."""

    traced: Traced
    history: list[dict[str, float]]


Groups: TypeAlias = list[dict[str, object]]


def _sgd(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.momentum > 0)


def _adam(groups: Groups, plan: Plan) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Kingma & Ba 2015, arXiv 1412.6980; Loshchilov & Hutter 2019, 1711.05101).

    For networks without BatchNorm: nothing there keeps the gradients of layers in proportion to their weights.
    """
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


OPTIMIZERS = {"sgd": _sgd, "adam": _adam}


def fit(
    student: Traced,
    data: Data,
    plan: Plan,
    teacher: Traced | None,
    tick: Tick,
    checkpoint: Path | None = None,
    mode: Callable[[fx.GraphModule, bool], None] = set_training,
    after_step: AfterStep | None = None,
) -> Fitted:
    """Train in place, and return the best epoch's network.

    The network as it comes competes too (epoch 0), so training never makes the validation accuracy worse. Data order
    and augmentation follow from the seed and the epoch alone: an interrupted training ends with the same weights.
    `mode` puts the graph into training or evaluation mode; `after_step` is called after each step of the optimizer.

    Raises:
        EdgepruneError: the loss is not finite.
    """
    module = student.module
    frozen = teacher.module if teacher is not None else None
    optimizer = OPTIMIZERS[plan.optimizer](_decayed(module, plan.weight_decay), plan)
    steps = max(1, math.ceil(plan.share * math.ceil(len(data.train.labels) / plan.batch_size)))
    mode(module, False)
    state = read_state(checkpoint) if checkpoint is not None else None
    if state is None:
        start = accuracy(module, data.val, data.preprocessing).value
        state = State(0, {}, {}, copy.deepcopy(module.state_dict()), start, [{"epoch": 0, "val_accuracy": start}])
    else:
        module.load_state_dict(state.weights)
        optimizer.load_state_dict(state.optimizer)
    for epoch in range(state.epoch, plan.epochs):
        mode(module, True)
        with torch.random.fork_rng():
            # Dropout draws from the global generator: its state must follow from the seed and the epoch too.
            torch.manual_seed(plan.seed * 1_000_003 + epoch)
            mean = _epoch(module, frozen, data, plan, epoch, steps, optimizer, tick, after_step)
        mode(module, False)
        found = accuracy(module, data.val, data.preprocessing).value
        state.history.append({"epoch": epoch + 1, "loss": mean, "val_accuracy": found})
        if found >= state.best_accuracy:
            state.best_accuracy, state.best_weights = found, copy.deepcopy(module.state_dict())
        state.epoch, state.weights, state.optimizer = epoch + 1, module.state_dict(), optimizer.state_dict()
        if checkpoint is not None:
            write_state(state, checkpoint)
    module.load_state_dict(state.best_weights)
    return Fitted(student, state.history)


def _epoch(
    module: fx.GraphModule,
    teacher: fx.GraphModule | None,
    data: Data,
    plan: Plan,
    epoch: int,
    steps: int,
    optimizer: torch.optim.Optimizer,
    tick: Tick,
    after_step: AfterStep | None,
) -> float:
    """One pass over the training images, or so many batches of it; returns the mean loss."""
    losses: list[Tensor] = []
    seen, device = 0, next(module.parameters()).device
    batches = train_batches(data.train, data.preprocessing, plan.batch_size, plan.augment, plan.seed, epoch, device)
    for step, (x, y) in enumerate(islice(batches, steps)):
        loss = distillation(module(x), _opinion(teacher, x), y, plan.distill, plan.temperature)
        losses.append(loss.detach())
        if len(losses) - seen == CHECKED:
            _check(losses, seen, plan, epoch)
            seen = len(losses)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _schedule(epoch * steps + step, plan.epochs * steps, plan.warmup)
        optimizer.step()
        if after_step is not None:
            after_step(module, optimizer)
        tick(plan.name, epoch * steps + step + 1, plan.epochs * steps)
    _check(losses, seen, plan, epoch)
    return float(torch.stack(losses).double().mean())


def _check(losses: list[Tensor], seen: int, plan: Plan, epoch: int) -> None:
    """Raise unless all losses behind the first so many are finite."""
    for number, loss in enumerate(torch.stack(losses[seen:]).tolist() if losses[seen:] else [], seen + 1):
        if not math.isfinite(loss):
            raise EdgepruneError(
                f"{plan.name}: the loss is not finite at epoch {epoch + 1}, batch {number} "
                f"(learning rate {plan.learning_rate:g}). Lower the learning rate, or check the images."
            )


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate: a linear rise, under a cosine decay to zero.

    Goyal et al. 2017, arXiv 1706.02677, section 2.2: a network that was just cut has large gradients at first.
    Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts.
    """
    rise = min(1.0, (step + 1) / (warmup * steps)) if warmup else 1.0
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def _opinion(teacher: fx.GraphModule | None, x: Tensor) -> Tensor | None:
    if teacher is None:
        return None
    with torch.no_grad():
        return teacher(x)  # type: ignore[no-any-return]


def _decayed(module: fx.GraphModule, weight_decay: float) -> Groups:
    """Weight decay on weights only: BatchNorm's and biases have nothing to gain from it."""
    weights = [p for p in module.parameters() if p.dim() > 1]
    others = [p for p in module.parameters() if p.dim() <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
