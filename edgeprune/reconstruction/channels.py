"""SNOWS on a network whose channels were cut: every layer of the thin network is rebuilt towards the dense one.

The student is the dense graph without the cut channels, node names and all; of the dense network's values it is held
against those of the channels that stay. So channels that other methods chose are made up for by what is left.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgeprune.compact.branches import drop_zero_terms
from edgeprune.compact.keeps import Keeps, picked
from edgeprune.compact.rewrite import cut
from edgeprune.model.count import layers
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import Tick, silent
from edgeprune.reconstruction.snows import Rebuilt, Snows, snows
from edgeprune.reconstruction.window import Pick


def snows_on_channels(
    dense: Traced,
    found: Provenance,
    units: frozenset[int],
    x: Tensor,
    asked: Snows | None = None,
    tick: Tick = silent,
    state: Path | None = None,
) -> tuple[Traced, list[Rebuilt]]:
    """Cut units out of a network and rebuild what is left; `compact.apply` proves such a cut.

    Args:
        dense: the network; it is not changed.
        found: its provenance.
        units: those that go.
        x: calibration images `[n, ...]`.
        asked: how.
        tick: told of the layers.
        state: a file for what is done, from which a killed call goes on.
    """
    thin, weights, pick = student_of(dense, found, found.closed(units))
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    log = snows(thin, dense, masks, x, asked, tick, state, pick)
    return as_compacted(thin, dense), log


def student_of(dense: Traced, found: Provenance, units: frozenset[int]) -> tuple[Traced, dict[str, nn.Parameter], Pick]:
    """The dense graph without closed units, its layers' weights by name, and what it has of the dense values."""
    thin = Traced(cut(dense.module, found, units), dense.input_shape)
    names = dict(thin.module.named_parameters())
    weights = {layer.weight: names[layer.weight] for layer in layers(thin) if layer.weight in names}
    return thin, weights, _picking(dense, found, units)


def as_compacted(thin: Traced, dense: Traced) -> Traced:
    """The student as `compact.apply` leaves a network: exported anew, without terms of sums that are zero."""
    rebuilt = trace(thin.module, thin.input_shape)
    drop_zero_terms(rebuilt.module, dict(dense.module.named_parameters()) | dict(dense.module.named_buffers()))
    return rebuilt


def _picking(dense: Traced, found: Provenance, units: frozenset[int]) -> Pick:
    """From a node's name and its dense value to the channels of it that stay."""
    keeps = Keeps(found, units)
    nodes = {node.name: node for node in dense.module.graph.nodes}
    return lambda name, value: picked(value, keeps.of(nodes[name]))
