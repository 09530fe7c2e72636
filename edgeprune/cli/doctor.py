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
        **_board(found),
        "processor": f"{found.processor}, {found.cores} physical cores for this process",
        "memory": f"{found.memory_bytes / 2**30:.1f} GiB",
        "GPUs": ", ".join(found.gpus) or "no NVIDIA GPU listed by its driver",
        "CPU flags": ", ".join(found.cpu_flags) or "none of those that matter for INT8",
        "governor": found.governor or "not told",
        "clocks": _clocks(found),
        "temperatures": ", ".join(f"{name} {value:.0f} C" for name, value in found.temperatures_c.items())
        or "not told",
        "throttled": ", ".join(f"{name}: {value:g}" for name, value in found.throttled.items())
        or "not since the start",
        "targets": ", ".join(found.targets) or "none of the shipped ones",
        "runtimes": ", ".join(found.runtimes),
        "power": f"{found.power_sensor} ({' + '.join(found.rails)})"
        if found.power is None
        else f"not measured: {found.power}",
    }
    text = [f"{name:<12} {value}" for name, value in facts.items()]
    text += [f"{'mind':<12} {warning}" for warning in found.warnings] + ["", "commands"]
    for command, ability in (found.commands | found.options).items():
        state = "works" if ability.works else f"needs {', '.join(ability.missing)}: {ability.install}"
        text.append(f"  {command:<18} {state}")
    return text


def _board(found: Abilities) -> dict[str, str]:
    """What only a Jetson tells."""
    if found.soc is None and found.l4t is None:
        return {}
    mode = found.power_mode
    others = ", ".join(f"{other.id} {other.name}" for other in found.power_modes)
    return {
        "module": f"{found.module or 'not told'}, {found.soc or 'SoC not told'}, "
        f"compute capability {found.compute_capability or 'not told'}",
        "release": f"L4T {found.l4t or 'not told'}, JetPack {found.jetpack or 'not told'}",
        "power mode": f"{f'{mode.id} {mode.name}' if mode is not None else 'not told'} (of {others or 'none listed'})",
    }


def _clocks(found: Abilities) -> str:
    rates = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in found.clocks_mhz.items())
    locked = {True: "locked", False: "not locked", None: ""}[found.clocks_locked]
    return ", ".join(part for part in (rates, locked) if part) or "not told"
