"""The curvature of a module that is at hand, for any number of prunings."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from edgeprune.api.modules import one_tensor, traced_of
from edgeprune.curvature.curvature import Curvature
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.content import content_hash
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import Traced
from edgeprune.progress import silent


def estimate_curvature(
    module: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    probes: int = 24,
    matrix: Literal["hessian", "ggn"] = "hessian",
    precision: Literal["fp32", "half", "bf16"] = "fp32",
    batch_size: int = 128,
    memory_mb: float = 2000.0,
    seed: int = 0,
) -> Curvature:
    """Estimate the traces of the Hessian blocks of all layers' output channels, for `prune` under any budget.

    Args:
        module: the trained network; it is not changed.
        data: images `[n, ...]` as the network takes them, and labels `[n]`.
        probes: how many; the more, the smaller the standard errors.
        matrix: of the cross-entropy loss, or its Gauss-Newton part, which is never negative.
        precision: `half` is float16 on CUDA and bfloat16 elsewhere.
        batch_size: images at a time, at most.
        memory_mb: megabytes (1e6 bytes) that graphs may hold.
        seed: of the probes.

    Raises:
        EdgepruneError: a setting that is none, labels that do not fit, or nothing to estimate.
    """
    traced = traced_of(module, one_tensor(data[0]))
    own = dict(traced.module.named_parameters())
    weights = {name: axis for name, axis in provenance(traced).weights.items() if name in own}
    found = channel_traces(
        traced, weights, *data, Probing(probes, batch_size, seed, matrix, precision, memory_mb), silent
    )
    return replace(found, fingerprint={"network": content_hash(traced)})


def known_curvature(curvature: Curvature | None, traced: Traced) -> Curvature | None:
    """A curvature that was estimated before, if it is of this network."""
    if curvature is not None and curvature.fingerprint.get("network") != content_hash(traced):
        raise EdgepruneError("the curvature is of another network. Estimate it anew with edgeprune.estimate_curvature.")
    return curvature
