"""The options that commands share, and the recipe that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.errors import EdgepruneError

if TYPE_CHECKING:
    from edgeprune.pipeline.folder import Stage
    from edgeprune.spec.recipe import Recipe
    from edgeprune.spec.result import Result

_SOURCE, _BUDGET, _TRAINING = "Network and images", "What to reach", "Training"


def _option(help_: str, panel: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel, metavar=metavar, show_default=False, **more)


Model = Annotated[
    str | None,
    typer.Argument(
        help="Built-in name, file.py:function, package.module:function or .pt2. [default: the built-in example]",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    _option("Folder of class folders with train/ and test/, .npz, CIFAR binaries, digits, or file.py:function.", _SOURCE, "--data"),
]
Weights = Annotated[str | None, _option(".safetensors or a weights-only checkpoint.", _SOURCE, "--weights", metavar="FILE")]
ImageSize = Annotated[int | None, _option("Side of the square input. [default: the network's, else the images']", _SOURCE, "--image-size", metavar="PIXELS")]
Mean = Annotated[str | None, _option("Per channel, of pixels in 0..1: 0.485,0.456,0.406.", _SOURCE, "--mean", metavar="M,...")]
Std = Annotated[str | None, _option("Per channel: 0.229,0.224,0.225.", _SOURCE, "--std", metavar="S,...")]
Augment = Annotated[str | None, _option("none, crop or crop-flip. [default: as fits the data]", _SOURCE, "--augment")]
TargetName = Annotated[str | None, _option("Name or .toml file; see `edgeprune targets`. [default: this machine's CPU]", _BUDGET, "--target", metavar="NAME")]
Method = Annotated[str | None, _option("hap or magnitude. [default: hap]", _BUDGET, "--method")]
Macs = Annotated[float | None, _option("Share of the multiply-adds that may stay. [default: 0.5]", _BUDGET, "--macs")]
Params = Annotated[float | None, _option("Share of the parameters that may stay.", _BUDGET, "--params")]
Sparsity = Annotated[float | None, _option("Share of the channels that must go.", _BUDGET, "--sparsity")]
Keep = Annotated[list[str] | None, _option("Pattern of layer names never cut; may be repeated.", _BUDGET, "--keep", metavar="PATTERN")]
Fp32 = Annotated[bool, _option("Stay in float: prune only.", _BUDGET, "--fp32")]
Epochs = Annotated[int | None, _option("Fine-tuning after pruning. [default: 3]", _TRAINING, "--epochs")]
QatEpochs = Annotated[int | None, _option("Training in INT8. [default: a third of --epochs, at least 1]", _TRAINING, "--qat-epochs")]
DenseEpochs = Annotated[int | None, _option("Train the dense network first. [default: 0]", _TRAINING, "--dense-epochs")]
BatchSize = Annotated[int | None, _option("[default: 128]", _TRAINING, "--batch-size")]
LearningRate = Annotated[float | None, _option("Of the fine-tuning. [default: 0.02]", _TRAINING, "--learning-rate")]
Probes = Annotated[int | None, _option("Hutchinson probes at most. [default: 24]", _TRAINING, "--probes")]
Seed = Annotated[int | None, _option("[default: 0]", _TRAINING, "--seed")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="Replay a RUN/recipe.toml instead of options.", show_default=False)]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Run directory. [default: runs/MODEL-TARGET]", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

EXAMPLE: dict[str, Any] = {
    "source": {"model": "resnet18", "data": "digits", "image_size": 32},
    "training": {
        "dense_epochs": 10,
        "dense_learning_rate": 0.02,
        "epochs": 5,
        "qat_epochs": 2,
        "learning_rate": 0.01,
        "batch_size": 64,
    },
    "curvature": {"images": 128, "probes": 8},
}
"""The built-in example's own settings; every option may change them."""


def recipe(options: dict[str, Any]) -> Recipe:
    """Turn a command's options into a recipe, checked before anything heavy is loaded.

    Raises:
        EdgepruneError: an option that does not fit; the text says what would.
    """
    from edgeprune.spec.recipe import METHOD_NAMES, Recipe
    from edgeprune.spec.strict import parse, read_toml
    from edgeprune.spec.target import load_target

    file = options.pop("recipe")
    if file is not None:
        given = sorted(f"--{name.replace('_', '-')}" for name, value in options.items() if value)
        if given:
            raise EdgepruneError(f"--recipe says everything; {given[0]} cannot be given beside it. Edit the recipe.")
        return read_toml(Recipe, file)
    if (options["model"] is None) != (options["data"] is None):
        missing = "MODEL" if options["model"] is None else "--data"
        raise EdgepruneError(f"{missing} is missing. Give both MODEL and --data, or neither for the built-in example.")
    if options["method"] is not None and options["method"] not in METHOD_NAMES:
        raise EdgepruneError(f"unknown method {options['method']!r}. Known: {', '.join(METHOD_NAMES)}.")
    content = _content(options)
    content["target"] = load_target(options["target"] or _own_target()).name if not _is_file(options["target"]) else options["target"]
    return parse(Recipe, content, "options")


def _is_file(target: str | None) -> bool:
    from edgeprune.spec.target import load_target

    if target is None or not target.endswith(".toml"):
        return False
    load_target(target)
    return True


def _own_target() -> str:
    from edgeprune.measure.match import host_target

    return host_target()


def _content(options: dict[str, Any]) -> dict[str, Any]:
    example = EXAMPLE if options["model"] is None else {}
    source = dict(example.get("source", {})) | _given(options, "model", "data", "weights", "image_size", "augment")
    for name in ("mean", "std"):
        if options[name] is not None:
            source[name] = _numbers(name, options[name])
    for name in ("weights", "data", "model"):
        source[name] = _absolute(source.get(name))
    training = dict(example.get("training", {})) | _given(options, "epochs", "qat_epochs", "dense_epochs", "batch_size", "learning_rate")
    if options["epochs"] is not None and options["qat_epochs"] is None:
        training["qat_epochs"] = max(1, round(options["epochs"] / 3))
    content: dict[str, Any] = {
        "schema": 1,
        "source": {name: value for name, value in source.items() if value is not None},
        "training": training,
        "curvature": dict(example.get("curvature", {})) | _given(options, "probes"),
        "precision": "fp32" if options["fp32"] else "int8",
        **_given(options, "method", "seed"),
    }
    if options["keep"]:
        content["keep"] = options["keep"]
    budgets = _given(options, "macs", "params", "sparsity")
    if len(budgets) > 1:
        raise EdgepruneError(f"--{' and --'.join(budgets)} exclude each other for now. Choose one budget.")
    for kind, value in budgets.items():
        content["budget"] = {"kind": kind, "value": value}
    return content


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise EdgepruneError(f"--{name} {text!r}: not numbers. Give one per channel, as 0.485,0.456,0.406.") from None


def _absolute(name: str | None) -> str | None:
    """A recipe is replayed from anywhere, so files that exist are named by their whole path."""
    if name is None:
        return None
    file, colon, function = name.rpartition(":")
    if colon and Path(file).is_file():
        return f"{Path(file).resolve()}:{function}"
    return str(Path(name).resolve()) if Path(name).exists() else name


def default_folder(asked: Recipe) -> Path:
    """Return runs/MODEL-TARGET."""
    model = Path(asked.source.model.split(":")[0]).stem if "/" in asked.source.model else asked.source.model
    return Path("runs") / f"{model.replace(':', '-')}-{Path(asked.target).stem}"


def quiet() -> None:
    """Keep the libraries' own warnings and logs off the terminal: what the user can mend, we say."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)


def show(result: Result) -> None:
    """Print the summary table."""
    from rich.console import Console

    from edgeprune.report.compare import compare_result
    from edgeprune.report.render import table

    Console().print(table(compare_result(result)), highlight=False)


def show_stages(stages: Sequence[Stage], folder: Path, json: bool) -> None:
    """Print which stages are done, with their seconds and validation accuracy."""
    import json as text

    rows = []
    for stage in stages:
        history = stage.path / "history.json"
        best = None
        if history.is_file():
            best = max(row["val_accuracy"] for row in text.loads(history.read_text(encoding="utf-8")))
        rows.append({"stage": stage.name, "seconds": stage.seconds, "val_accuracy": best, "path": str(stage.path)})
    if json:
        typer.echo(text.dumps({"run": str(folder), "stages": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "seconds", "validation accuracy", title=str(folder))
    for row in rows:
        shown = "" if row["val_accuracy"] is None else f"{100 * row['val_accuracy']:.2f} %"
        table.add_row(row["stage"], f"{row['seconds']:.1f}", shown)
    Console().print(table, highlight=False)
