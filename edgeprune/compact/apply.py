"""Apply cuts to a network, and prove the result."""

from __future__ import annotations

from torch import Tensor

from edgeprune.compact.check import Proof, prove
from edgeprune.compact.rewrite import cut
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced, trace


def compact(traced: Traced, found: Provenance, units: frozenset[int], x: Tensor) -> tuple[Traced, Proof]:
    """Return the network without the given units, exported anew, and the proof on the images `x`.

    Raises:
        EdgepruneError: compacted(x) and masked(x) differ (`check.prove`).
    """
    thin = trace(cut(traced.module, found, units), traced.input_shape)
    return thin, prove(traced.module, thin.module, found, units, x)
