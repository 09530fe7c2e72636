"""Checks of what only cuts of channels can do."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgeprune.errors import EdgepruneError

if TYPE_CHECKING:
    from edgeprune.spec.budget import Budget, LimitName


def check_implants(ratio: float, budget: Budget, coupling: str = "group") -> None:
    """Refuse a ratio that is none, and implants beside what does not know them.

    Raises:
        EdgepruneError: the text says what is needed, or what to leave out.
    """
    if not 0 <= ratio < 1:
        raise EdgepruneError(f"implant_ratio={ratio:g}: a share from 0 up to below 1 is needed.")
    if not ratio:
        return
    limits = [name for name in ("memory_mb", "latency_ms") if getattr(budget, name) is not None]
    if limits:
        option = f"--{limits[0].replace('_', '-')}"
        raise EdgepruneError(
            f"{option} does not count what implants cost. Limit --macs, --params or --size-mb instead."
        )
    if coupling != "group":
        raise EdgepruneError(f"implants need coupling 'group', not {coupling!r}. Leave one of them out.")


def check_coupling(coupling: str, limits: Collection[LimitName]) -> None:
    """Refuse limits that union coupling cannot keep: spreading a sum's terms takes memory and time of its own.

    Raises:
        EdgepruneError: one is given; the text says what to do.
    """
    refused = [name for name in limits if name in {"memory_mb", "latency_ms"}]
    if coupling == "union" and refused:
        raise EdgepruneError(
            f"--{refused[0].replace('_', '-')} does not count what --coupling union adds where channels are spread. "
            "Limit --macs, --params, --sparsity or --size-mb, or take --coupling group."
        )
