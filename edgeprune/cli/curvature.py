"""`edgeprune curvature`: estimate what cutting will cost, once, for any budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune.cli import ask, method_options, show


def curvature(
    model: Annotated[
        str,
        typer.Argument(
            help="Built-in name, timm:NAME, torchvision:NAME, file.py:function, package.module:function or .pt2.",
            show_default=False,
        ),
    ],
    data: ask.Data,
    weights: ask.Weights = None,
    image_size: ask.ImageSize = None,
    mean: ask.Mean = None,
    std: ask.Std = None,
    images: Annotated[
        int | None, typer.Option(min=8, help="How many it is of. [default: 256]", show_default=False)
    ] = None,
    probes: method_options.Probes = None,
    memory: Annotated[
        float | None,
        typer.Option(help="Megabytes that graphs may hold. [default: 2000]", metavar="MB", show_default=False),
    ] = None,
    matrix: method_options.Matrix = None,
    half: method_options.Half = False,
    seed: ask.Seed = None,
    device: ask.Device = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", metavar="FILE")] = Path(
        "curvature.safetensors"
    ),
    json: ask.Json = False,
) -> None:
    """Estimate the Hessian's trace of every channel, for `--curvature FILE` of compress and prune.

    Under torchrun, several processes or GPUs share the work: torchrun --nproc-per-node 2 -m edgeprune curvature ...
    """
    show.quiet()
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.options import recipe_from
    from edgeprune.spec.methods import Curving
    from edgeprune.spec.strict import parse

    given: dict[str, Any] = {
        "model": model, "data": data, "weights": weights, "image_size": image_size, "mean": mean, "std": std,
        "probes": probes, "matrix": matrix, "half": half, "seed": seed, "device": device,
    }  # fmt: skip
    asked = recipe_from(given)  # before torch: a typo should fail at once
    own = {name: value for name, value in (("images", images), ("memory_mb", memory)) if value is not None}
    asked = asked.model_copy(update={"curvature": parse(Curving, asked.curvature.model_dump() | own, "options")})
    show.check_folder(output)
    from edgeprune.curvature.team import join_team
    from edgeprune.pipeline.curving import estimate_file
    from edgeprune.progress import silent

    team = join_team()
    if team.leads:
        with bar() as tick:
            found = estimate_file(asked, output, tick, team)
        show.show_curvature(found, output, json)
    else:
        estimate_file(asked, output, silent, team)
