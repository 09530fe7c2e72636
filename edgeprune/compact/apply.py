"""Apply cuts to a network, and prove the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from edgeprune.compact.branches import drop_zero_terms
from edgeprune.compact.check import Proof, prove
from edgeprune.compact.rewrite import cut
from edgeprune.errors import EdgepruneError
from edgeprune.model.groups import Group
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.cuts import Cuts


def compact(traced: Traced, found: Provenance, units: frozenset[int], x: Tensor) -> tuple[Traced, Proof]:
    """Return the network without the given units, exported anew, and the proof on the images `x`.

    Raises:
        EdgepruneError: the cut network does not run, or compacted(x) and masked(x) differ (`check.prove`).
    """
    try:
        unfolded = cut(traced.module, found, units)
        thin = trace(unfolded, traced.input_shape)
        drop_zero_terms(thin.module)
        return thin, prove(traced.module, thin.module, found, units, x, unfolded)
    except EdgepruneError as error:
        raise EdgepruneError(f"compaction failed: {error}") from error
    except Exception as error:  # whatever a graph without its channels runs into
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EdgepruneError(
            f"compaction failed: {reason}. Freeze the layer with --keep, and report the network."
        ) from error


@dataclass(frozen=True)
class Compacted:
    """A smaller network with its proof; `refused`: group name -> why its cuts could not be proven."""

    traced: Traced
    cuts: Cuts
    proof: Proof
    refused: dict[str, str]


def compact_soundly(
    traced: Traced, found: Provenance, groups: list[Group], choose: Callable[[list[Group]], Cuts], x: Tensor
) -> Compacted:
    """Choose and cut; where that cannot be proven, find the groups at fault, leave them whole, and choose again.

    Raises:
        EdgepruneError: no group alone is at fault, or the budget cannot be met without those that are.
    """
    cuts = choose(groups)
    refused: dict[str, str] = {}
    try:
        thin, proof = compact(traced, found, cuts.units, x)
    except EdgepruneError as error:
        refused = _at_fault(traced, found, groups, x, str(error))
        cuts = choose([group for group in groups if group.name not in refused])
        thin, proof = compact(traced, found, cuts.units, x)
    return Compacted(thin, cuts, proof, refused)


def _at_fault(traced: Traced, found: Provenance, groups: list[Group], x: Tensor, why: str) -> dict[str, str]:
    """The groups of which every second unit cannot be cut, by halving: group name -> why.

    Raises:
        EdgepruneError: the cuts fail together, but no group alone.
    """
    open_, refused = [groups], dict[str, str]()
    while open_:
        some = open_.pop()
        fault = _fault(traced, found, some, x)
        if fault is not None and len(some) == 1:
            refused[some[0].name] = fault
        elif fault is not None:
            open_ += [some[: len(some) // 2], some[len(some) // 2 :]]
    if not refused:
        raise EdgepruneError(why)
    return refused


def _fault(traced: Traced, found: Provenance, groups: list[Group], x: Tensor) -> str | None:
    """Why cutting every second unit of some groups fails, or None."""
    units = frozenset(unit for group in groups for unit in group.units[::2][: len(group.units) - 1])
    try:
        prove(traced.module, cut(traced.module, found, units), found, units, x)
    except Exception as error:  # whatever a graph without its channels runs into
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None
