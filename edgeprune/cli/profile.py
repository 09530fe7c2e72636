"""`edgeprune profile`: check a bundle's answers on this machine, then measure it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from edgeprune.cli.verify import Signers, insist

if TYPE_CHECKING:
    from edgeprune.engine.runner import RuntimeName
    from edgeprune.spec.profile import Profile

_HOW, _WHAT = "How to measure", "What to measure beside"
QUICK, REPORT, MLPERF = 10.0, 60.0, 600.0
PRECISIONS = ("int8", "fp32")


def profile(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="A bundle folder, as RUN/bundle; none with --layers alone: the layers that networks have in common.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="How long to time calls, after the warm-up. [default: 10]",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="60 seconds: for figures that are published.", rich_help_panel=_HOW)
    ] = False,
    mlperf: Annotated[
        bool, typer.Option("--mlperf", help="600 seconds, as MLPerf's single stream.", rich_help_panel=_HOW)
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="[default: one per physical core]", rich_help_panel=_HOW, show_default=False),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Images per call; several for a row each. [default: 1]",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    streams: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Callers at the same time, beside one alone.", rich_help_panel=_HOW, show_default=False
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="tensorrt, cuda or cpu. [default: the bundle's own]", rich_help_panel=_HOW, show_default=False
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Another bundle: the ratio of both, timed in turn.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Class folders of test images: accuracy of the file on this machine.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="A table of layer shapes, for --latency-ms.", rich_help_panel=_WHAT),
    ] = False,
    meter: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="What an external power meter logs meanwhile: times and watts.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of --layers without a bundle: int8 or fp32.", rich_help_panel=_WHAT)
    ] = "int8",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    signers: Signers = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the profile. [default: profiles/ beside the bundle]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check a bundle's golden outputs on this machine, then measure latency, memory, power and layers."""
    from edgeprune.cli.bar import bar
    from edgeprune.measure.profile import Wishes, profile_with_calls
    from edgeprune.measure.written import write_profile

    if bundle is None:
        _common_layers(layers, precision, threads, json, output)
        return
    insist(signers, bundle, *([against] if against is not None else []))
    sizes = batch or [1]
    wishes = Wishes(
        runtime=_runtime(runtime),
        batches=tuple(sizes[1:]),
        streams=tuple(streams or ()),
        against=against,
        meter=_readable(meter),
        data=data,
        layers=layers,
    )
    with bar() as tick:
        measured, calls = profile_with_calls(bundle, _seconds(seconds, report, mlperf), threads, sizes[0], tick, wishes)
    _show(measured, json)
    # Written last: a folder that cannot be written to should not cost the user the measurement.
    written = write_profile(measured, output or bundle.resolve().parent / "profiles", calls)
    typer.echo(f"written to {written}", err=True)


def _common_layers(asked: bool, precision: str, threads: int | None, json: bool, output: Path | None) -> None:
    """Measure the table that needs no bundle."""
    from edgeprune.cli.bar import bar
    from edgeprune.errors import EdgepruneError
    from edgeprune.measure.common_layers import measure_common
    from edgeprune.measure.written import write_layer_costs
    from edgeprune.report.layer_costs import off_multiple_line

    if not asked:
        raise EdgepruneError("Give a bundle folder, as RUN/bundle; or --layers alone, for a table of common layers.")
    if precision not in PRECISIONS:
        raise EdgepruneError(f"unknown --precision {precision!r}. Known: {', '.join(PRECISIONS)}.")
    with bar() as tick:
        costs = measure_common(precision, threads, tick)
    typer.echo(costs.model_dump_json(by_alias=True) if json else off_multiple_line(costs))
    typer.echo(f"written to {write_layer_costs(costs, output or Path('profiles'))}", err=True)


def _seconds(seconds: float | None, report: bool, mlperf: bool) -> float:
    from edgeprune.errors import EdgepruneError

    if (seconds is not None) + report + mlperf > 1:
        raise EdgepruneError("--seconds, --report and --mlperf say the same thing. Give one of them.")
    if seconds is not None:
        return seconds
    return REPORT if report else MLPERF if mlperf else QUICK


def _runtime(name: str | None) -> RuntimeName | None:
    from edgeprune.engine.runner import RuntimeName
    from edgeprune.errors import EdgepruneError

    known = get_args(RuntimeName)
    if name is not None and name not in known:
        raise EdgepruneError(f"unknown --runtime {name!r}. Known: {', '.join(known)}.")
    return cast("RuntimeName | None", name)


def _readable(meter: Path | None) -> Path | None:
    """A log that is not there is told before the minutes that it should cover, not after."""
    from edgeprune.errors import EdgepruneError

    if meter is not None and not meter.is_file():
        raise EdgepruneError(f"--meter {meter}: no such file. Start the meter's logger first.")
    return meter


def _show(measured: Profile, json: bool) -> None:
    from rich.console import Console

    from edgeprune.report.profile_lines import profile_table

    if json:
        typer.echo(measured.model_dump_json(by_alias=True, indent=2))
    else:
        Console().print(profile_table(measured), highlight=False)
