"""`edgeprune compress`: the whole chain."""

from __future__ import annotations

import typer

from edgeprune.cli import ask


def compress(
    model: ask.Model = None,
    data: ask.Data = None,
    target: ask.TargetName = None,
    method: ask.Method = None,
    macs: ask.Macs = None,
    params: ask.Params = None,
    sparsity: ask.Sparsity = None,
    epochs: ask.Epochs = None,
    qat_epochs: ask.QatEpochs = None,
    dense_epochs: ask.DenseEpochs = None,
    weights: ask.Weights = None,
    image_size: ask.ImageSize = None,
    mean: ask.Mean = None,
    std: ask.Std = None,
    augment: ask.Augment = None,
    keep: ask.Keep = None,
    fp32: ask.Fp32 = False,
    batch_size: ask.BatchSize = None,
    learning_rate: ask.LearningRate = None,
    probes: ask.Probes = None,
    seed: ask.Seed = None,
    device: ask.Device = None,
    recipe: ask.RecipeFile = None,
    output: ask.Output = None,
    json: ask.Json = False,
) -> None:
    """Prune, compact, train in INT8, export, check, package and measure a trained network.

    Without MODEL and --data it runs the built-in example: ResNet-18, trained on scikit-learn's digits first.
    """
    options = {name: value for name, value in locals().items() if name not in {"output", "json"}}
    ask.quiet()
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.options import default_folder, recipe_from

    asked = recipe_from(options)  # before torch: a typo should fail at once
    folder = output or default_folder(asked)
    from edgeprune.pipeline.compress import compress as run

    with bar() as tick:
        outcome = run(asked, folder, tick)
    assert outcome.result is not None
    if json:
        typer.echo(outcome.result.model_dump_json(by_alias=True, indent=2))
    else:
        ask.show(outcome.result)
    typer.echo(f"bundle: {folder / 'bundle'}", err=True)
