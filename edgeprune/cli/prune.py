"""`edgeprune prune`: the chain up to the pruned, fine-tuned network."""

from __future__ import annotations

from edgeprune.cli import ask


def prune(
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
    """Score, cut, compact and fine-tune; `quantize` and `export` go on from the run directory."""
    options = {name: value for name, value in locals().items() if name not in {"output", "json"}}
    ask.quiet()
    from edgeprune.cli.bar import bar
    from edgeprune.pipeline.options import default_folder, recipe_from

    asked = recipe_from(options)  # before torch: a typo should fail at once
    folder = output or default_folder(asked)
    from edgeprune.pipeline.compress import prune as run

    with bar() as tick:
        outcome = run(asked, folder, tick)
    ask.show_stages(outcome.stages, folder, json)
