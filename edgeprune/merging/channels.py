"""Merging channels that go into channels that stay, in the layers that read them: CAMP-HiVe's merge for channels.

Layer by layer, what the dense network's layer reads, all its channels, is written as a combination of the channels that
the thin network has there, and of a constant, by ridge least squares over images and positions; the combination is
folded into the layer's weights and bias. So a donor goes into the channels that are like it, and what layers before
could not keep is made up for too (the thin network's own values are what is combined). He et al. 2017, arXiv
1707.06168, fit a layer's outputs; here it is the inputs, which serves every position of the kernel alike, by `C + 1`
unknowns for each channel. A channel of a residual stream is another one in front of every layer, so every layer has its
own combination. A depthwise convolution mixes no channels: the layer after it does. Where channels are multiples of
others nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.compact.keeps import Keeps
from edgeprune.curvature.layer_gradients import as_pictures
from edgeprune.merging.pairs import GIVEN
from edgeprune.model.attributes import attribute
from edgeprune.model.operators import arguments
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.reconstruction.cascade import Cascade, Place, Walking
from edgeprune.reconstruction.channels import as_compacted, student_of
from edgeprune.spec.methods import MergeName

RIDGE = 1e-4
"""Of the mean square of a channel."""


@dataclass(frozen=True)
class Merged:
    """A layer that lost inputs: how many, and what of its inputs' energy is missed on images held back.

    `cut`: with the channels that stay as they are; `merged`: with the combination. `taken`: which of them.
    """

    weight: str
    gone: int
    kept: int
    cut: float
    merged: float

    @property
    def taken(self) -> str:
        return "merged" if self.merged < self.cut else "cut"


def merge_channels(
    dense: Traced,
    found: Provenance,
    units: frozenset[int],
    x: Tensor,
    walking: Walking | None = None,
    tick: Tick = silent,
    how: MergeName = "joint",
    ridge: float = RIDGE,
) -> tuple[Traced, list[Merged]]:
    """Cut units out of a network and merge them into the others; `compact.apply` proves such a cut.

    Args:
        dense: the network; it is not changed.
        found: its provenance.
        units: those that go.
        x: calibration images `[n, ...]`; a batch of them is held back.
        walking: batches and memory.
        tick: told of the layers.
        how: all channels that stay give together; each donor by the one channel that explains most of it, by so much
            or by half of it; or none.
        ridge: of the joint merge; see `RIDGE`.
    """
    units = found.closed(units)
    thin, weights, pick = student_of(dense, found, units)
    keeps = Keeps(found, units)
    cascade = Cascade(thin, dense, x, (walking or Walking()).holding_back(len(x)), pick)
    names: list[str] = []
    done: list[Merged] = []
    try:
        for number, place in enumerate(cascade.places([*weights])):
            tick("merging channels", number, len(weights))
            if place.simple is None or place.simple.geometry.groups != 1 or number == 0:
                continue
            kept = keeps.of_parameter(place.weight)
            log, tensors = _merged(place, kept, how, ridge)
            if log.gone:
                done.append(log)
            if log.taken == "merged":
                for name, value in tensors.items():
                    cascade.set(name, value)
                names += [*tensors]
        tick("merging channels", len(weights), len(weights))
        whole = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        cascade.write_back(names, whole, centred=True)
    finally:
        cascade.close()
    return as_compacted(thin, dense), done


def _merged(place: Place, kept: dict[int, Tensor], how: MergeName, ridge: float) -> tuple[Merged, dict[str, Tensor]]:
    """A layer's tensors on the combination, and how much of its inputs that is."""
    full = attribute(place.cascade.dense.module, place.weight)
    inputs = kept.get(1, torch.ones(full.shape[1], dtype=torch.bool)).nonzero().flatten()
    bias = place.moving_bias
    stay = len(inputs) + (1 if bias is not None else 0)
    moments = sum(_moments(place, number, bias is not None) for number in place.fitted)
    assert isinstance(moments, Tensor)
    plain = torch.zeros_like(moments[:stay, stay:])  # [stay, C]
    plain[torch.arange(len(inputs)), inputs.to(plain.device)] = 1
    shares = (
        _jointly(moments, stay, len(inputs), ridge) if how == "joint" else _singly(moments, plain, len(inputs), how)
    )
    judged = _moments(place, place.held_back, bias is not None)
    log = Merged(
        place.weight, full.shape[1] - len(inputs), len(inputs), _missed(judged, plain), _missed(judged, shares)
    )
    outputs = kept[0].nonzero().flatten().to(full.device) if 0 in kept else slice(None)
    rows = full[outputs].double()
    tensors = {place.weight: torch.einsum("sg,og...->os...", shares[: len(inputs)], rows)}
    if bias is not None:
        constant = rows.flatten(2).sum(2) @ shares[-1] if rows.dim() > 2 else rows @ shares[-1]
        tensors[bias] = attribute(place.cascade.dense.module, bias)[outputs].double() + constant
    return log, {name: value.to(full) for name, value in tensors.items()}


def _jointly(moments: Tensor, stay: int, channels: int, ridge: float) -> Tensor:
    """Ridge least squares of all dense channels on those that stay and a constant, `[stay, C]`."""
    own = moments[:stay, :stay]
    own = own + ridge * own.diagonal()[:channels].mean() * torch.eye(stay).to(own)
    solved: Tensor = torch.linalg.solve(own, moments[:stay, stay:])
    return solved


def _singly(moments: Tensor, plain: Tensor, channels: int, how: MergeName) -> Tensor:
    """Each donor from the channel that explains most of its energy, `(E x_i x_j)^2 / E x_j^2`."""
    shares, gone = plain.clone(), plain[:channels].sum(0) == 0
    if how == "none":
        return shares
    both = moments[:channels, len(plain) :][:, gone]
    own = moments.diagonal()[:channels, None].clamp_min(torch.finfo(torch.float64).tiny)
    taker = (both.square() / own).argmax(0)
    columns = gone.nonzero().flatten()
    shares[taker, columns] = (both / own)[taker, torch.arange(len(columns))] if how == "pair" else GIVEN
    return shares


def _moments(place: Place, number: int, constant: bool) -> Tensor:
    """Of one batch: sums of products of what the thin layer reads, of 1, and of what the dense one reads, float64."""
    assert place.simple is not None
    name = arguments(place.node)["input"].name
    values = [place.inputs(number), place.cascade.other.read(number)[name]]
    thin, full = (as_pictures(place.simple, value).movedim(1, 0).flatten(1) for value in values)
    read = torch.cat([thin, *([torch.ones_like(thin[:1])] if constant else []), full])
    return (read @ read.T).double()


def _missed(moments: Tensor, shares: Tensor) -> float:
    """Share of the dense inputs' energy that a combination does not give."""
    stay = len(shares)
    both, full = moments[:stay, stay:], moments[stay:, stay:].diagonal()
    left = full.sum() - 2 * (shares * both).sum() + (shares * (moments[:stay, :stay] @ shares)).sum()
    return float(left / full.sum().clamp_min(torch.finfo(torch.float64).tiny))
