"""Apply cuts to a network, and prove the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from edgeprune.compact.branches import drop_zero_terms
from edgeprune.compact.check import Proof, prove
from edgeprune.compact.rewrite import cut
from edgeprune.compact.spread import count_spreads
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
    units = found.closed(units)
    try:
        unfolded = cut(traced.module, found, units)
        thin = trace(unfolded, traced.input_shape)
        drop_zero_terms(thin.module, dict(traced.module.named_parameters()) | dict(traced.module.named_buffers()))
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
    """A smaller network with its proof; `refused`: group name -> why its cuts could not be proven.

    `spread`: how many terms of sums are spread over more channels than they keep.
    """

    traced: Traced
    cuts: Cuts
    proof: Proof
    refused: dict[str, str]
    spread: int = 0


def compact_soundly(
    traced: Traced, found: Provenance, groups: list[Group], choose: Callable[[list[Group]], Cuts], x: Tensor
) -> Compacted:
    """Choose and cut; where that cannot be proven, find the groups at fault, leave them whole, and choose again.

    Raises:
        EdgepruneError: the budget cannot be met without the groups at fault; the text names them.
    """
    cuts = choose(groups)
    refused: dict[str, str] = {}
    try:
        thin, proof = compact(traced, found, cuts.units, x)
    except EdgepruneError:
        refused = _at_fault(traced, found, groups, cuts.units, x)
        if not refused:
            raise
        try:
            cuts = choose([group for group in groups if group.name not in refused])
            thin, proof = compact(traced, found, cuts.units, x)
        except EdgepruneError as error:
            name, why = next(iter(refused.items()))
            count = "1 group is" if len(refused) == 1 else f"{len(refused)} groups are"
            raise EdgepruneError(f"{error} ({count} left whole, since the cut failed; {name}: {why})") from error
    return Compacted(thin, cuts, proof, refused, count_spreads(traced.module.graph, found, cuts.units))


def _at_fault(
    traced: Traced, found: Provenance, groups: list[Group], units: frozenset[int], x: Tensor
) -> dict[str, str]:
    """The groups whose share of a cut fails, by halving: group name -> why.

    Where two halves fail only together, the second one is left whole.
    """
    cut_groups = [group for group in groups if not units.isdisjoint(group.units)]
    open_, refused = [cut_groups], dict[str, str]()
    while open_:
        some = open_.pop()
        if len(some) == 1:
            fault = _fault(traced, found, some, units, x)
            refused |= {some[0].name: fault} if fault is not None else {}
            continue
        halves = some[: len(some) // 2], some[len(some) // 2 :]
        faults = [_fault(traced, found, half, units, x) for half in halves]
        open_ += [half for half, fault in zip(halves, faults, strict=True) if fault is not None]
        together = _fault(traced, found, some, units, x) if faults == [None, None] else None
        if together is not None:
            refused |= {group.name: f"with others: {together}" for group in halves[1]}
    return refused


def _fault(traced: Traced, found: Provenance, groups: list[Group], units: frozenset[int], x: Tensor) -> str | None:
    """Why the part of a cut that falls on some groups fails, or None."""
    mine = found.closed(units & {unit for group in groups for unit in group.units})
    try:
        prove(traced.module, cut(traced.module, found, mine), found, mine, x)
    except Exception as error:  # whatever a graph without its channels runs into
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None
