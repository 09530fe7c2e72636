"""What a network costs on the device: the quantities that depend on target and precision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced
from edgeprune.pruning.latency import latency
from edgeprune.pruning.memory import peak_memory, weight_bytes
from edgeprune.pruning.plan import Prunable
from edgeprune.pruning.quantity import Quantity, Weighted
from edgeprune.spec.budget import LimitName
from edgeprune.spec.target import Target


@dataclass(frozen=True)
class Deployment:
    """`precision`: int8 or fp32. `latency_profile`: a file with layer times, None: see `spec.speeds`."""

    precision: str
    target: Target | None = None
    latency_profile: str | None = None


def deployed(traced: Traced, ground: Prunable, deployment: Deployment, names: Collection[LimitName]) -> Prunable:
    """The same ground with the named quantities of the device in its cost model.

    Raises:
        EdgepruneError: milliseconds are asked for, and nothing is known to count them with.
    """
    found: dict[str, Quantity] = {}
    origin = None
    if "size_mb" in names:
        stored = [name for name, _ in traced.module.named_parameters()]
        found["size_mb"] = Weighted(ground.cost.parameters, weight_bytes(traced, stored, deployment.precision))
    if "memory_mb" in names:
        found["memory_mb"] = peak_memory(traced, ground.found, ground.groups, deployment.precision)
    if "latency_ms" in names:
        if deployment.target is None:
            raise EdgepruneError("latency_ms needs a target. Give target='jetson-orin-nano', or another of its kind.")
        found["latency_ms"], origin = latency(
            traced, ground, deployment.target, deployment.precision, deployment.latency_profile
        )
    cost = replace(ground.cost, quantities=ground.cost.quantities | found, latency_from=origin)
    return replace(ground, cost=cost)
