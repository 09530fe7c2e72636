"""SNOWS: pruned layers rebuilt by Newton's method on what lies K operations ahead.

Lucas and Mazumder 2025, arXiv 2411.18376. Layer by layer, the kept weights are moved to where the following operations
put out what the dense network does. No labels, no training. Ours differs from the released code in that products are
exact for layers of any size, that the real graph is run (a transformer's class token and position table are there),
that a step is judged on the batch it was made for, and that of the layer as masked, as solved by least squares and as
moved by Newton's method the one is taken that is best on images held back.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeprune.model.attributes import attribute
from edgeprune.model.content import content_hash
from edgeprune.model.traced import Traced
from edgeprune.model.whole import write_whole
from edgeprune.progress import Tick, silent
from edgeprune.reconstruction.cascade import Cascade, Place, Walking, whole
from edgeprune.reconstruction.least_squares import RIDGE, Moments, Summing, solve_rows
from edgeprune.reconstruction.newton import Kept, Newton, Precondition, Settings, Step
from edgeprune.reconstruction.precondition import RowBlocks
from edgeprune.reconstruction.window import Pick, Point, Window


@dataclass(frozen=True)
class Snows:
    """`steps`: K, operations ahead; None: to the end. `warm`: start from least squares. `biases`: move them too.

    `passes`: over the batches, one step on each. `slow`: relative progress of a step below which, three times in a
    row, the layer is done. `precondition`: see there.
    """

    steps: int | None = 3
    warm: bool = True
    biases: bool = False
    passes: int = 1
    slow: float = 0.005
    precondition: bool = True
    newton: Settings = field(default_factory=Settings)
    walking: Walking = field(default_factory=Walking)


@dataclass(frozen=True)
class Rebuilt:
    """What became of a layer: K-step losses on the images held back, as masked, solved and moved; None: not tried."""

    weight: str
    operations: int
    masked: float
    solved: float | None
    moved: float | None
    taken: str
    steps: list[dict[str, Any]]
    seconds: float

    @property
    def best(self) -> float:
        """The loss of what was taken."""
        return min(loss for loss in (self.masked, self.solved, self.moved) if loss is not None)


def snows(
    student: Traced,
    teacher: Traced,
    masks: Mapping[str, Tensor],
    x: Tensor,
    asked: Snows | None = None,
    tick: Tick = silent,
    state: Path | None = None,
    pick: Pick = whole,
) -> list[Rebuilt]:
    """Rebuild a student's layers, in place.

    Args:
        student: a copy of the teacher, or of another graph with its node names (`pick`).
        teacher: the dense network.
        masks: weight name -> bool, True where it stays; every other weight becomes zero.
        x: calibration images `[n, ...]`.
        asked: how.
        tick: told of the layers.
        state: a file for what is done, from which a killed call on the same networks, masks, images and settings goes
            on.
        pick: what of the teacher's values the student has.
    """
    asked = asked or Snows()
    cascade = Cascade(student, teacher, x, asked.walking.holding_back(len(x)), pick)
    of = _fingerprint(student, teacher, masks, x, asked) if state is not None else ""
    known = _read(state, of)
    try:
        done: list[Rebuilt] = []
        names: list[str] = []
        for place in cascade.places([*masks]):
            tick("rebuilding layers", len(done), len(masks))
            if place.weight in known:
                found, log = known[place.weight]
            else:
                found, log = rebuild(place, masks[place.weight].to(cascade.device), asked)
                known[place.weight] = found, log
                if state is not None:
                    _write(known, of, state)
            for name, value in found.items():
                cascade.set(name, value)
            names += [*found]
            done.append(log)
        tick("rebuilding layers", len(done), len(masks))
        cascade.write_back(names, masks)
        return done
    finally:
        cascade.close()


Known = dict[str, tuple[dict[str, Tensor], Rebuilt]]
"""Weight name -> the layer's tensors, and how they were found."""


def _fingerprint(student: Traced, teacher: Traced, masks: Mapping[str, Tensor], x: Tensor, asked: Snows) -> str:
    settings = replace(asked, walking=replace(asked.walking, memory_mb=0))  # which changes no result
    hasher = hashlib.sha256(f"{content_hash(student)} {content_hash(teacher)} {settings}".encode())
    for name, mask in masks.items():
        hasher.update(name.encode() + mask.cpu().numpy().tobytes())
    hasher.update(x.cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _write(known: Known, of: str, path: Path) -> None:
    layers = {name: (value, asdict(row)) for name, (value, row) in known.items()}
    write_whole({"of": of, "layers": layers}, path)


def _read(path: Path | None, of: str) -> Known:
    if path is None or not path.is_file():
        return {}
    there = torch.load(path, map_location="cpu", weights_only=True)
    if there["of"] != of:
        return {}
    return {name: (found, Rebuilt(**log)) for name, (found, log) in there["layers"].items()}


def rebuild(place: Place, mask: Tensor, asked: Snows) -> tuple[dict[str, Tensor], Rebuilt]:
    """The best tensors of one layer under its mask, and how they were found."""
    begin = time.perf_counter()
    names = [place.weight, *([place.moving_bias] if asked.biases and place.moving_bias else [])]
    masked = [place.value * mask, *[attribute(place.cascade.folded.module, name).clone() for name in names[1:]]]
    ahead = place.window(names, asked.steps)
    held_back = place.batch(ahead, place.held_back)
    tried = {"masked": masked}
    read = place.simple is not None and (asked.warm or asked.precondition)
    moments = _moments(place, names) if read else None
    if asked.warm and moments is not None:
        tried["solved"] = [t.to(masked[0]) for t in _solved(moments, mask, len(names) > 1)]
    losses = {name: held_back.loss(tensors) for name, tensors in tried.items()}
    start = min(losses, key=losses.__getitem__)
    steps: list[Step] = []
    if asked.steps != 0 or place.simple is None or not asked.warm:
        tried["moved"], steps = _moved(place, ahead, mask, tried[start], asked, moments)
        losses["moved"] = held_back.loss(tried["moved"])
    taken = min(losses, key=losses.__getitem__)
    log = Rebuilt(
        place.weight,
        len(ahead.matched),
        losses["masked"],
        losses.get("solved"),
        losses.get("moved"),
        taken,
        [asdict(step) | {"why": step.why.name} for step in steps],
        round(time.perf_counter() - begin, 3),
    )
    return dict(zip(names, tried[taken], strict=True)), log


def _moments(place: Place, names: Sequence[str]) -> Moments:
    """What the layer reads against what it should put out, over the batches to fit to; a bias that moves reads a 1."""
    assert place.simple is not None
    summing, wanted = Summing(place.simple, len(names) > 1), place.outputs()
    fixed = attribute(place.cascade.folded.module, place.bias) if place.bias is not None and len(names) == 1 else None
    for number in place.fitted:
        target = wanted(number)
        if fixed is not None:
            target = target - fixed.view(-1, *[1] * (0 if place.simple.linear else target.dim() - 2))
        summing.add(place.inputs(number), target)
    return summing.moments()


def _solved(moments: Moments, mask: Tensor, bias: bool, ridge: float = RIDGE) -> list[Tensor]:
    """Least squares on the layer's own output."""
    kept = mask.flatten(1)
    if bias:
        kept = torch.cat([kept, kept.new_ones(len(kept), 1)], 1)
    rows = solve_rows(moments, kept, ridge)
    found = [rows[:, : mask[0].numel()].reshape(mask.shape)]
    return [*found, rows[:, -1].clone()] if bias else found


def _moved(
    place: Place,
    ahead: Window,
    mask: Tensor,
    tensors: Sequence[Tensor],
    asked: Snows,
    moments: Moments | None,
) -> tuple[list[Tensor], list[Step]]:
    """Newton steps over the batches that are not held back."""
    kept = Kept([mask, *[torch.ones_like(tensor, dtype=torch.bool) for tensor in tensors[1:]]])
    newton = Newton(kept, asked.newton, _preconditioned(moments, mask, tensors) if asked.precondition else None)
    found, steps, slow = [*tensors], list[Step](), 0
    for _ in range(asked.passes):
        for number in place.fitted:
            found, step = newton.step(place.batch(ahead, number), found)
            steps.append(step)
            slow = slow + 1 if step.after >= (1 - asked.slow) * step.before else 0
            if slow == 3:
                return found, steps
    return found, steps


def _preconditioned(moments: Moments | None, mask: Tensor, tensors: Sequence[Tensor]) -> Precondition | None:
    """By what the layer reads, where that is known."""
    if moments is None:
        return None
    size = mask[0].numel()
    blocks = RowBlocks(moments.inputs[:, :size, :size], mask.flatten(1), tensors[0])

    def at(point: Point, damping: float) -> Callable[[Tensor], Tensor]:
        assert point.output_weights is not None
        return blocks.at(point.output_weights(), damping)

    return at
