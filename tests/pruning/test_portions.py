"""A budget in portions: shares of what is left, absolute limits in the terms of the network as it is."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.pruning.cost import Cost
from edgeprune.pruning.portions import Left
from edgeprune.spec.budget import Budget


class _Scaled:
    """A quantity in proportion to the units that stay."""

    def __init__(self, each: float) -> None:
        self._each = each

    def at(self, kept: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([self._each * kept.sum()])


def _cost(units: int, ms: float) -> Cost:
    """Of a network with so many units that takes so long."""
    each = {"macs": 3.0, "params": 2.0, "sparsity": 1.0, "latency_ms": ms / units}
    quantities = {name: _Scaled(value) for name, value in each.items()}
    return Cost(quantities, np.array([units]), *[None] * 3)  # type: ignore[arg-type]


def test_shares_are_of_what_is_left_and_end_at_what_was_asked() -> None:
    left, asked = Left.of(None), {"macs": 0.4, "sparsity": 0.3}
    first = left.portion(asked, 0.5, None)  # type: ignore[arg-type]
    assert first is not None
    assert (first.macs, first.sparsity) == (pytest.approx(0.7), pytest.approx(0.15))
    left = left.after({"macs": 0.65, "params": 0.9, "sparsity": 0.2}, None)
    assert left.reached() == {"macs": 0.65, "params": 0.9, "sparsity": pytest.approx(0.2)}
    last = left.portion(asked, 1.0, None)  # type: ignore[arg-type]
    assert last is not None
    assert last.macs == pytest.approx(0.4 / 0.65, abs=1e-4)
    assert last.sparsity == pytest.approx(1 - 0.7 / 0.8, abs=1e-4)
    done = left.after({"macs": 0.6, "params": 0.5, "sparsity": 0.2}, None)
    assert done.reached()["params"] == pytest.approx(0.45)
    assert done.portion(asked, 1.0, None) is None, "all of it holds"  # type: ignore[arg-type]


def test_milliseconds_are_in_the_terms_of_the_network_as_it_is() -> None:
    left = Left.of(_cost(100, 8.0))
    assert left.portion({"latency_ms": 4.0}, 0.5, _cost(100, 8.0)) == Budget(latency_ms=6.0)
    left = left.after({"macs": 0.7, "params": 0.7, "sparsity": 0.3, "latency_ms": 6.0}, _cost(100, 8.0))
    # Times that were measured of the whole network count for the thinner one as a whole again.
    again = _cost(70, 8.0)
    last = left.portion({"latency_ms": 3.0}, 1.0, again)
    assert last is not None
    assert last.latency_ms == pytest.approx(4.0), "half of what it is"
    left = left.after({"macs": 0.5, "params": 0.5, "sparsity": 0.5, "latency_ms": 4.0}, again)
    assert left.reached()["latency_ms"] == pytest.approx(3.0)
    assert left.reached()["macs"] == pytest.approx(0.35)
    assert left.portion({"latency_ms": 3.01}, 1.0, again) is None
