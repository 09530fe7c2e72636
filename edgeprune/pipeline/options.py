"""From a command's options, or the Python API's, to a recipe; and the built-in example."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from edgeprune.errors import EdgepruneError
from edgeprune.measure.match import host_target
from edgeprune.pipeline.allocating_options import ALLOCATING, allocating
from edgeprune.pipeline.cycling_options import CYCLING, cycling
from edgeprune.pipeline.int8_options import int8_settings
from edgeprune.spec.budget import LIMIT_NAMES, SHARES, Budget
from edgeprune.spec.channels import check_coupling
from edgeprune.spec.int8 import RANGE_NAMES
from edgeprune.spec.methods import METHOD_NAMES, AllocatorName, Compensation, MaskSource, Rebuilding
from edgeprune.spec.recipe import Allocation, AttentionCut, Coupling, Recipe
from edgeprune.spec.speeds import check_latency
from edgeprune.spec.strict import parse, read_toml
from edgeprune.spec.target import load_target

OPTIONS = frozenset((
    "model", "data", "weights", "image_size", "mean", "std", "augment",
    "target", "method", "pattern", "keep", "attention", "coupling", "allocation", "implant", "exact", "fp32",
    "latency_profile",
    *LIMIT_NAMES, "max_drop", "trials", "trial_epochs",
    "epochs", "qat_epochs", "dense_epochs", "batch_size", "learning_rate",
    "probes", "matrix", "half", "spectrum", "curvature",
    "compensate", "mask", "lookahead", *CYCLING, *ALLOCATING, "seed", "device", "recipe",
    "ranges", "int8_max_drop", "int8_keep", "learned_scales", "equalize", "adaround", "int8_anyway",
))  # fmt: skip

EXAMPLE: dict[str, Any] = {
    "source": {"model": "resnet18", "data": "digits", "image_size": 32},
    "training": {
        "dense_epochs": 10,
        "dense_learning_rate": 0.02,
        "epochs": 5,
        "qat_epochs": 6,
        "learning_rate": 0.01,
        "batch_size": 64,
    },
    "curvature": {"images": 128, "probes": 8},
}
"""The built-in example's own settings; every option may change them."""


CHOICES = {
    "attention": get_args(AttentionCut),
    "coupling": get_args(Coupling),
    "allocation": get_args(Allocation),
    "matrix": ("hessian", "ggn"),
    "compensate": get_args(Compensation),
    "mask": get_args(MaskSource),
    "ranges": RANGE_NAMES,
    "allocator": get_args(AllocatorName),
}
QAT_EPOCHS = 2
"""Epochs in INT8 for each of fine-tuning, where they are not given: what the cut cost is still being won back there."""


def recipe_from(asked: dict[str, Any]) -> Recipe:
    """Turn options (None: not given) into a recipe, checked before anything heavy is loaded.

    Raises:
        EdgepruneError: an option that does not fit; the text says what would.
    """
    unknown = sorted(set(asked) - OPTIONS)
    if unknown:
        raise EdgepruneError(f"unknown option {unknown[0]!r}. Known: {', '.join(sorted(OPTIONS))}.")
    options = dict.fromkeys(OPTIONS) | asked
    file = options.pop("recipe")
    if file is not None:
        given = sorted(
            f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None and value is not False
        )
        if given:
            raise EdgepruneError(f"--recipe says everything; {given[0]} cannot be given beside it. Edit the recipe.")
        return _checked(read_toml(Recipe, Path(file)))
    if (options["model"] is None) != (options["data"] is None):
        missing = "MODEL" if options["model"] is None else "--data"
        raise EdgepruneError(f"{missing} is missing. Give both MODEL and --data, or neither for the built-in example.")
    if options["method"] is not None and options["method"] not in METHOD_NAMES:
        raise EdgepruneError(f"unknown method {options['method']!r}. Known: {', '.join(METHOD_NAMES)}.")
    content = _content(options)
    content["target"] = _target(options["target"])
    return _checked(parse(Recipe, content, "options"))


def _checked(recipe: Recipe) -> Recipe:
    """Refuse before torch is loaded what the target's facts will not allow."""
    if recipe.budget.latency_ms is not None:
        check_latency(load_target(recipe.target), recipe.precision, recipe.latency_profile)
    return recipe


def _target(name: str | None) -> str:
    """The target's own name, aliases resolved; of a file, its path."""
    found = load_target(name or host_target())
    return str(Path(name).resolve()) if name is not None and name.endswith(".toml") else found.name


def _content(options: dict[str, Any]) -> dict[str, Any]:
    example = EXAMPLE if options["model"] is None else {}
    source = dict(example.get("source", {})) | _given(options, "model", "data", "weights", "image_size", "augment")
    for name in ("mean", "std"):
        if options[name] is not None:
            source[name] = _numbers(name, options[name])
    for name in ("weights", "data", "model"):
        source[name] = _absolute(None if source.get(name) is None else str(source[name]))
    training = dict(example.get("training", {})) | _given(
        options, "epochs", "qat_epochs", "dense_epochs", "batch_size", "learning_rate"
    )
    if options["epochs"] is not None and options["qat_epochs"] is None:
        training["qat_epochs"] = QAT_EPOCHS * options["epochs"]
    content: dict[str, Any] = {
        "schema": 1,
        "source": {name: value for name, value in source.items() if value is not None},
        "training": training,
        "curvature": dict(example.get("curvature", {})) | _curving(options),
        "precision": "fp32" if options["fp32"] else "int8",
        "snows": _rebuilding(options),
        "camp_hive": cycling(options),
        "int8": int8_settings(options),
        "amp_hasa": allocating(options),
        **_given(options, "method", "pattern", "attention", "coupling", "allocation", "compensate", "seed", "device"),
    }
    for name, choices in CHOICES.items():
        if options[name] is not None and options[name] not in choices:
            raise EdgepruneError(f"unknown --{name} {options[name]!r}. Known: {', '.join(choices)}.")
    if options["implant"] is not None:
        content["implant_ratio"] = options["implant"]
    if options["exact"]:
        content["exact"] = True
    if options["keep"]:
        content["keep"] = (options["keep"],) if isinstance(options["keep"], str) else tuple(options["keep"])
    return content | _limits(options)


def _limits(options: dict[str, Any]) -> dict[str, Any]:
    """What must be reached, and how it is searched."""
    content: dict[str, Any] = {}
    budget = _given(options, *LIMIT_NAMES, "max_drop")
    if budget:
        content["budget"] = budget
    search = {"trials": options["trials"], "epochs": options["trial_epochs"]}
    given = {name: value for name, value in search.items() if value is not None}
    if given and options["max_drop"] is None:
        raise EdgepruneError("--trials and --trial-epochs belong to --max-drop. Give it too, or leave them out.")
    content["search"] = given
    if options["latency_profile"] is not None:
        if options["latency_ms"] is None:
            raise EdgepruneError("--latency-profile belongs to --latency-ms. Give it too, or leave the profile out.")
        content["latency_profile"] = _absolute(str(options["latency_profile"]))
    return content


def _curving(options: dict[str, Any]) -> dict[str, Any]:
    """How the curvature is estimated, or where it lies."""
    content = _given(options, "probes", "matrix") | ({"precision": "half"} if options["half"] else {})
    if options["spectrum"]:
        content["spectrum"] = True
    if options["curvature"] is not None:
        given = [name for name in ("probes", "matrix", "half") if options[name]]
        if given:
            raise EdgepruneError(f"--curvature is estimated already; --{given[0]} has no say. Leave one of them out.")
        content["file"] = _existing_file("curvature", str(options["curvature"]))
        content["file_sha256"] = hashlib.sha256(Path(content["file"]).read_bytes()).hexdigest()
    return content


def _rebuilding(options: dict[str, Any]) -> dict[str, Any]:
    """How layers are rebuilt."""
    content = {"masks": options["mask"]} if options["mask"] is not None else {}
    given = [name for name in ("mask", "lookahead") if options[name] is not None]
    if given and "snows" not in (options["method"], options["compensate"]):
        raise EdgepruneError(f"--{given[0]} belongs to --method snows or --compensate snows. Give one of them too.")
    asked = options["lookahead"]
    if asked is not None:
        try:
            content["lookahead"] = asked if asked == "end" else int(asked)
        except ValueError:
            raise EdgepruneError(f"--lookahead {asked!r}: neither a number nor end. Try 10, or end.") from None
        if asked != "end" and int(asked) < 0:
            raise EdgepruneError(f"--lookahead {asked}: 0 is the layer's own output. Give 0 or more, or end.")
    return content


def _existing_file(option: str, name: str) -> str:
    if not Path(name).is_file():
        raise EdgepruneError(f"--{option} {name}: no such file. Write it with edgeprune {option}.")
    return str(Path(name).resolve())


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


def _numbers(name: str, text: str | Sequence[float]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (text.split(",") if isinstance(text, str) else text))
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


def budget_from(limits: dict[str, float | None], coupling: str) -> Budget:
    """The Python API's limits (None: not given) as a budget; half of the multiply-adds where there are none.

    Raises:
        EdgepruneError: a limit that is no share, or that the coupling cannot keep.
    """
    asked = {name: value for name, value in limits.items() if value is not None} or {"macs": 0.5}
    for name, value in asked.items():
        if name in SHARES and not 0 < value < 1:
            raise EdgepruneError(f"{name}={value:g}: a share between 0 and 1 is needed.")
    budget = parse(Budget, asked, "budget")
    check_coupling(coupling, budget.limits)
    return budget


def check_choices(
    method: str,
    attention: str,
    precision: str,
    multiple: int | None,
    sparsity: float,
    probes: int,
    coupling: str,
    allocation: str,
) -> None:
    """Refuse what the Python API takes and no recipe has checked.

    Raises:
        EdgepruneError: the text says what is known, or which numbers do.
    """
    known = {"attention": (attention, get_args(AttentionCut)), "precision": (precision, ("int8", "fp32"))}
    known |= {"coupling": (coupling, get_args(Coupling)), "allocation": (allocation, get_args(Allocation))}
    known |= {"method": (method, METHOD_NAMES)}
    for name, (value, choices) in known.items():
        if value not in choices:
            raise EdgepruneError(f"{name}={value!r} is unknown. Known: {', '.join(choices)}.")
    if multiple is not None and multiple < 1:
        raise EdgepruneError(f"multiple={multiple}: 1 or more is needed.")
    if not 0 < sparsity <= 1:
        raise EdgepruneError(f"max_layer_sparsity={sparsity:g}: a share above 0 and up to 1 is needed.")
    if probes < 2:
        raise EdgepruneError(f"probes={probes}: 2 or more are needed.")


def check_rebuilding(
    method: str, compensate: str, asked: Rebuilding, masks: bool, images: bool, implant_ratio: float
) -> bool:
    """Whether layers are to be rebuilt; `masks`: the pattern is one of masks; `images`: whether there are any.

    Raises:
        EdgepruneError: the text says what is known, or what is needed.
    """
    if compensate not in get_args(Compensation):
        raise EdgepruneError(f"compensate={compensate!r} is unknown. Known: {', '.join(get_args(Compensation))}.")
    if "snows" not in (method, compensate) and asked != Rebuilding():
        raise EdgepruneError("mask_by, lookahead and rebuild belong to snows. Give method or compensate, 'snows'.")
    if compensate == "merge" and (masks or method == "snows"):
        raise EdgepruneError("compensate='merge' is for channels that another method cut. Take 'snows', or none.")
    if asked.target == "block" and not masks:
        raise EdgepruneError("target='block' is for mask patterns: a layer that lost inputs has no dense one.")
    if method != "snows" and compensate == "none":
        return False
    if not images:
        raise EdgepruneError("layers are rebuilt on images. Give data=(images, labels); the labels are not read.")
    if implant_ratio:
        raise EdgepruneError(
            "implants are trained from zero, which no layer can be rebuilt for. Leave one of them out."
        )
    return True
