"""`edgeprune build`: a bundle's TensorRT engine, on the device that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.cli.verify import Signers, insist

if TYPE_CHECKING:
    from edgeprune.engine.trt.settings import BuildSettings


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, as RUN/bundle.", show_default=False)],
    shape_range: Annotated[str, typer.Option("--shape-range", metavar="N|MIN:OPT:MAX", help="Images per call.")] = "1",
    workspace: Annotated[
        int | None,
        typer.Option(min=1, metavar="MB", help="Memory for kernels. [default: TensorRT's]", show_default=False),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Kernel times, kept. [default: ~/.cache/edgeprune]", show_default=False),
    ] = None,
    fp16: Annotated[bool, typer.Option(help="Let what is not INT8 run in half precision.")] = True,
    sparse: Annotated[bool, typer.Option("--sparse", help="Try kernels for 2:4 weights too.")] = False,
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="A plan without weights; model.onnx fills it when it is loaded.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="A plan for later TensorRTs too; desktop GPUs only.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to time queries.")] = 3.0,
    streams: Annotated[int, typer.Option(min=1, help="Also time that many streams at once.")] = 1,
    compare_trtexec: Annotated[bool, typer.Option("--compare-trtexec", help="Time the plan with trtexec too.")] = False,
    any_device: Annotated[
        bool, typer.Option("--any-device", help="Build although this device is not the target.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build again although a plan is there.")] = False,
    dla: Annotated[bool, typer.Option("--dla", help="Only say which layers a DLA could run; builds nothing.")] = False,
    signers: Signers = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Build a bundle's TensorRT engine on this device, check its answers, time it, and show what each layer became."""
    from edgeprune.engine.trt.settings import BuildSettings, parse_range

    insist(signers, bundle)
    settings = BuildSettings(
        batch=parse_range(shape_range),
        workspace_mb=workspace,
        fp16=fp16,
        sparse=sparse,
        strip_weights=strip_weights,
        version_compatible=version_compatible,
    )
    if dla:
        _show_dla(bundle, settings, json)
        return
    from rich.console import Console

    from edgeprune.cli.bar import bar
    from edgeprune.cli.show import tell
    from edgeprune.measure.building import Asked, build_engine
    from edgeprune.report.engine import engine_tables

    asked = Asked(seconds, streams, timing_cache, any_device, rebuild, compare_trtexec)
    with bar() as tick:
        report = build_engine(bundle, settings, asked, tick, tell)
    if json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        Console().print(engine_tables(report), highlight=False)


def _show_dla(path: Path, settings: BuildSettings, json: bool) -> None:
    import json as text

    from edgeprune.engine.trt.dla import dla_plan
    from edgeprune.report.dla import dla_lines
    from edgeprune.spec.bundle import open_bundle
    from edgeprune.spec.target import load_target

    opened = open_bundle(path)
    found = dla_plan(opened.model, load_target(opened.manifest.target), settings.batch.fixed)
    layers: list[dict[str, Any]] = [vars(layer) for layer in found.layers]
    if json:
        typer.echo(text.dumps({"layers": layers, "needs": found.needs}, indent=2))
    else:
        typer.echo("\n".join(dla_lines(layers, found.needs)))
