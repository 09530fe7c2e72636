"""`edgeprune doctor`: what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeprune.measure.abilities import Abilities


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say what this machine can do: versions, the commands that work, and what others miss."""
    from edgeprune.measure.abilities import abilities

    found = abilities()
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        typer.echo("\n".join(lines(found)))


def lines(found: Abilities) -> list[str]:
    """Return the findings as lines for people."""
    facts = {
        "python": found.python,
        "edgeprune": found.edgeprune,
        **{package: version or "not installed" for package, version in found.versions.items()},
        "device": found.device,
        "processor": f"{found.processor}, {found.cores} physical cores for this process",
        "memory": f"{found.memory_bytes / 2**30:.1f} GiB",
        "GPUs": ", ".join(found.gpus) or "no NVIDIA GPU listed by its driver",
        "CPU flags": ", ".join(found.cpu_flags) or "none of those that matter for INT8",
        "governor": found.governor or "not told",
        "CPU target": found.target or "none of the shipped ones",
        "power": f"not measured: {found.power}",
    }
    text = [f"{name:<12} {value}" for name, value in facts.items()] + ["", "commands"]
    for command, ability in found.commands.items():
        state = "works" if ability.works else f"needs {', '.join(ability.missing)}: {ability.install}"
        text.append(f"  {command:<10} {state}")
    return text
