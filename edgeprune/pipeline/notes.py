"""What a reader must know beside a run's figures, as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgeprune.model.provenance import TIED
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.steps import Work, best_accuracy
from edgeprune.report.figures import points
from edgeprune.report.search import trial_lines
from edgeprune.spec.budget import SHARES
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.result import Allocation, Reached, Search


def skipped(work: Work) -> list[str]:
    skipped = work.data.skipped
    images = "image" if len(skipped) == 1 else "images"
    return [f"{len(skipped)} unreadable {images} skipped, the first: {skipped[0]}"] if skipped else []


def budget(work: Work, cut: Stage) -> dict[str, Reached]:
    report = json.loads((cut.path / "cuts.json").read_text(encoding="utf-8"))
    return {
        name: Reached(asked=limit, reached=report["reached"][name], source=_source(work, name, report["latency_from"]))
        for name, limit in report["budget"].items()
    }


def _source(work: Work, name: str, latency_from: str | None) -> str:
    """What an absolute limit was counted by."""
    width = work.recipe.precision.upper()
    return {
        "size_mb": f"the weights in {width}",
        "memory_mb": f"the activations in {width}, by the exported graph",
        "latency_ms": latency_from or "",
    }.get(name, "the exported graph")


def reached(work: Work, budget: dict[str, Reached]) -> list[str]:
    """Where the limits were met: every absolute one, and a share that was not used up."""
    notes = []
    for name, found in budget.items():
        option = f"--{name.replace('_', '-')}"
        left = 1 - found.asked if name == "sparsity" else found.asked
        used = 1 - found.reached if name == "sparsity" else found.reached
        if name not in SHARES:
            notes.append(f"{option} {found.asked:g}: {found.reached:.3g} reached, by {found.source}")
        elif used < 0.99 * left:
            why = f"widths are cut in multiples of {work.target.channel_multiple.value}"
            held = why if len(budget) == 1 else "the other limits hold"
            notes.append(f"{option} {found.asked:g} asked, {found.reached:.3f} reached: {held}")
    return notes


def latency_met(budget: dict[str, Reached], measured_ms: float | None) -> list[str]:
    """What a budget in milliseconds counted on, beside what was measured of the file that ships."""
    found = budget.get("latency_ms")
    if found is None or measured_ms is None:
        return []
    apart = 100 * (measured_ms / found.reached - 1)
    return [f"--latency-ms: {found.reached:.3g} ms predicted, {measured_ms:.3g} ms measured here ({apart:+.0f} %)"]


def searched(final: Stage, found: Search | None) -> list[str]:
    """The trials, and what became of the chosen one."""
    if found is None:
        return []
    drop = found.dense_val_accuracy - best_accuracy(final)
    kept = "within" if drop <= found.max_drop + 1e-9 else "MORE than"
    return [
        *trial_lines(found),
        f"--max-drop {found.max_drop:g}: {points(drop)} of validation accuracy in the final network, "
        f"{kept} what was allowed (dense: {100 * found.dense_val_accuracy:.2f} %)",
    ]


MOST_NAMED = 3
"""Parts that were not cut, named one by one in the report."""


def refused(cut: Stage) -> list[str]:
    """What was not cut and why, and what is no longer exactly what it was."""
    report = json.loads((cut.path / "cuts.json").read_text(encoding="utf-8"))
    notes = [f"left whole: {name}: {why}" for name, why in report["refused"].items()]
    if implanted := report.get("implanted"):  # a run of before has none
        count, groups = sum(implanted.values()), len(implanted)
        what = f"{count} {'unit' if count == 1 else 'units'} in {groups} {'group' if groups == 1 else 'groups'}"
        notes.append(f"implants: {what} of channels made by 1x1 convolutions instead of being cut")
    elif report.get("implant_ratio"):
        notes.append("implants: none, since no step of the widths that were cut is as small as that share of them")
    frozen = {name: why for name, why in report["frozen"].items() if name != "output" and why != TIED}
    notes += [f"never cut: {name}: {why}" for name, why in list(frozen.items())[:MOST_NAMED]]
    if len(frozen) > MOST_NAMED:
        notes.append(f"never cut: {len(frozen) - MOST_NAMED} more, in {cut.path.name}/cuts.json")
    if spread := report.get("spread"):
        terms = "1 term of a sum is" if spread == 1 else f"{spread} terms of sums are"
        notes.append(
            f"{terms} spread over more channels than they keep (a pad and a gather); --coupling group needs none"
        )
    if report["approximate"]:
        count = len(report["approximate"])
        what = "1 norm or mean is" if count == 1 else f"{count} norms or means are"
        notes.append(f"{what} now taken over the channels that stay; --exact leaves such channels whole")
    return notes


def allocated(recipe: Recipe, allocations: Sequence[Allocation]) -> list[str]:
    """What AMP-HASA's searches were, and what is not as it should be."""
    asked, lines = recipe.amp_hasa, []
    if recipe.method == "amp-hasa" and asked.sign == "literal":
        lines.append("the score is the formula as printed, by which what matters most goes first; for the record only")
    if allocations and asked.reward == "literal":
        lines.append("the reward is as printed: no budget was held, and the dense network has the most of it")
    for number, found in enumerate(allocations, 1):
        cycle = f"cycle {number} of {len(allocations)}: " if len(allocations) > 1 else ""
        strength = f"strength of the curvature {found.strength:g}"
        if not found.rewards:
            lines.append(f"{cycle}allocation by {found.allocator}, without a search; {strength}")
            continue
        why = {"done": "", "time": ", when the time was up", "interrupted": ", when it was interrupted"}[found.ended]
        gain = (
            ""
            if found.fresh is None or found.fresh_start is None
            else (f"; reward on validation images {found.fresh_start:.4f} at the start, {found.fresh:.4f} at the end")
        )
        lines.append(
            f"{cycle}allocation by {found.allocator}: {len(found.rewards)} of {found.asked} trials{why}, "
            f"{found.seconds:.0f} s, {100 * (1 - found.judging / max(found.seconds, 1e-9)):.0f} % of them the "
            f"search's own; {strength}{gain}"
        )
    return lines
