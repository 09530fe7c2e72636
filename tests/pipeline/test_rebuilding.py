"""SNOWS through the chain and from Python: what ships, what is said, and what is refused."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import EdgepruneError
from edgeprune.exporting.patterns import find_patterns
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.model.traced import load
from edgeprune.pipeline import deliver
from edgeprune.pipeline.compress import Outcome, compress
from edgeprune.pipeline.options import recipe_from
from edgeprune.pipeline.steps import network
from edgeprune.pruning.masks import load_masks
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Rebuilding
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.recipe import Recipe
from tests import tiny
from tests.pipeline import small

_recipe = partial(small.recipe, epochs=0)


def _stages(outcome: Outcome) -> dict[str, Path]:
    return {stage.name: stage.path for stage in outcome.stages}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.1)


def _logits(stage: Path, x: Tensor) -> Tensor:
    with torch.no_grad():
        return load(stage / "network.pt2").module(x)


def _images(recipe: Recipe) -> Tensor:
    """Test images, as the network takes them."""
    data = load_data(recipe.source, tiny.SIDE)
    return sample(data.test, data.preprocessing, 48, 0)[0]


def _error(stages: dict[str, Path], name: str, x: Tensor) -> float:
    return float((_logits(stages[name], x) - _logits(stages["dense"], x)).square().mean())


@pytest.mark.parametrize("masks", ["magnitude", "wanda", "obs"])
def test_masked_weights_are_rebuilt_and_the_zeros_ship(tmp_path: Path, masks: str) -> None:
    recipe = _recipe(
        tmp_path, method="snows", pattern="2:4", snows=Rebuilding(masks=masks, batch_size=32), precision="int8"
    )
    outcome = compress(recipe, tmp_path / "run")
    stages = _stages(outcome)
    kept = load_masks(stages["prune"] / "masks.safetensors").kept
    rebuilt = dict(network(next(s for s in outcome.stages if s.name == "rebuild")).module.named_parameters())
    for name, mask in kept.items():
        assert not rebuilt[name][~mask].any()
    x = _images(recipe)
    assert _error(stages, "rebuild", x) < 0.5 * _error(stages, "prune", x)
    found = find_patterns(onnx.load(tmp_path / "run" / "bundle" / "model.onnx"), parse_pattern("2:4"))
    assert found["body.0"].pattern == "2:4"
    assert outcome.result is not None
    (note,) = [note for note in outcome.result.notes if note.startswith("SNOWS")]
    assert note.startswith("SNOWS: 1 layer rebuilt")
    rows = json.loads((stages["rebuild"] / "rebuilt.json").read_text(encoding="utf-8"))
    assert [row["weight"] for row in rows] == ["body.0.weight"]


@pytest.mark.parametrize("method", ["magnitude", "hap", "snows"])
def test_cut_channels_are_made_up_for_after_any_method(tmp_path: Path, method: str) -> None:
    compensate = "none" if method == "snows" else "snows"
    recipe = _recipe(tmp_path, method=method, compensate=compensate, budget=Budget(macs=0.6), precision="fp32")
    outcome = compress(recipe, tmp_path / "run")
    stages = _stages(outcome)
    assert ("curvature" in stages) == (method == "hap")
    x = _images(recipe)
    assert _error(stages, "rebuild", x) < 0.5 * _error(stages, "prune", x)
    # With no epoch and no BatchNorm re-estimated, what SNOWS left is what ships.
    torch.testing.assert_close(_logits(stages["finetune"], x), _logits(stages["rebuild"], x))
    again = compress(recipe, tmp_path / "run")
    assert not any(stage.ran for stage in again.stages)


def test_cut_channels_are_merged_into_those_that_stay(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, method="magnitude", compensate="merge", budget=Budget(macs=0.6), precision="int8")
    outcome = compress(recipe, tmp_path / "run")
    stages, x = _stages(outcome), _images(recipe)
    assert _error(stages, "rebuild", x) < 0.8 * _error(stages, "prune", x)
    torch.testing.assert_close(_logits(stages["finetune"], x), _logits(stages["rebuild"], x))
    assert outcome.result is not None
    (note,) = [note for note in outcome.result.notes if note.startswith("merged")]
    assert note.startswith("merged: of what ")


def test_batch_norm_is_re_estimated_where_that_is_asked(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, method="snows", pattern="2:4", snows=Rebuilding(reestimate=True), precision="fp32")
    stages = _stages(compress(recipe, tmp_path / "run"))
    x = _images(recipe)
    assert not torch.allclose(_logits(stages["finetune"], x), _logits(stages["rebuild"], x))


REFUSED = {
    "implants": ({"compensate": "snows", "implant": 0.1}, "--implant is trained from zero, which no layer"),
    "settings alone": ({"lookahead": "3"}, "--lookahead belongs to --method snows or --compensate snows"),
    "a mask without a pattern": ({"method": "snows", "mask": "wanda"}, "--mask wanda chooses the weights"),
    "a drop": ({"method": "snows", "max_drop": 0.01}, "--max-drop tries cuts"),
    "no number": ({"method": "snows", "lookahead": "far"}, "--lookahead 'far': neither a number nor end"),
    "a negative number": ({"method": "snows", "lookahead": "-1"}, "lookahead"),
    "a further merge": ({"method": "snows", "compensate": "merge"}, "--compensate merge is for channels that another"),
    "merged masks": ({"compensate": "merge", "pattern": "2:4"}, "--compensate merge is for channels that another"),
    "no such mask": ({"method": "snows", "mask": "best"}, "unknown --mask 'best'. Known: magnitude, wanda, obs"),
    "curvature": ({"method": "snows", "spectrum": True}, "--spectrum is for hap"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(name: str) -> None:
    options, words = REFUSED[name]
    with pytest.raises(EdgepruneError, match=words):
        recipe_from({"model": "resnet20", "data": "digits", "dense_epochs": 1, **options})


def _module() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    return module.eval(), torch.randn(64, 3, 10, 10), torch.randint(0, 4, (64,))


@pytest.mark.parametrize("more", [{"pattern": "1:4"}, {"pattern": "2:4", "mask_by": "wanda"}, {"macs": 0.5}])
def test_from_python(more: dict[str, object]) -> None:
    module, x, y = _module()
    before = copy.deepcopy(module.state_dict())
    wanted = module(x)
    plain = edgeprune.prune(module, x[:1], **{k: v for k, v in more.items() if k != "mask_by"})  # type: ignore[arg-type]
    rebuilt = edgeprune.prune(module, x[:1], method="snows", data=(x, y), **more)  # type: ignore[arg-type]
    with torch.no_grad():
        errors = [float((net(x) - wanted).square().mean()) for net in (rebuilt, plain)]
    assert errors[0] < 0.5 * errors[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    if "pattern" in more:
        zeros = [float((p == 0).double().mean()) for n, p in rebuilt.named_parameters() if n == "2.weight"]
        assert np.isclose(zeros[0], 0.75 if more["pattern"] == "1:4" else 0.5)


def test_from_python_without_images_says_so() -> None:
    module, x, _ = _module()
    with pytest.raises(EdgepruneError, match="layers are rebuilt on images"):
        edgeprune.prune(module, x[:1], method="snows")
    with pytest.raises(EdgepruneError, match="compensate='all' is unknown"):
        edgeprune.prune(module, x[:1], compensate="all")  # type: ignore[arg-type]


def test_from_python_channels_are_merged() -> None:
    module, x, y = _module()
    x[:, 1] = x[:, 0]
    wanted = module(x)
    nets = [edgeprune.prune(module, x[:1], macs=0.5, data=(x, y), compensate=how) for how in ("merge", "none")]
    with torch.no_grad():
        errors = [float((net(x) - wanted).square().mean()) for net in nets]
    assert errors[0] < 0.5 * errors[1]


REFUSED_IN_PYTHON = {
    "settings alone": ({"lookahead": 9}, "mask_by, lookahead and rebuild belong to snows"),
    "a wrong number": ({"method": "snows", "lookahead": -2}, "snows: lookahead"),
    "an unknown setting": ({"method": "snows", "rebuild": {"bias": True}}, "snows: bias = True"),
    "a layer that is none": (
        {"method": "snows", "rebuild": {"target": "block"}},
        "target='block' is for mask patterns",
    ),
    "merged masks": ({"compensate": "merge", "pattern": "2:4"}, "compensate='merge' is for channels"),
}


@pytest.mark.parametrize("name", REFUSED_IN_PYTHON)
def test_from_python_what_cannot_be_is_refused(name: str) -> None:
    (module, x, y), (options, words) = _module(), REFUSED_IN_PYTHON[name]
    with pytest.raises(EdgepruneError, match=words):
        edgeprune.prune(module, x[:1], data=(x, y), **options)  # type: ignore[arg-type]


UNFIT = {
    "one tensor": (lambda x, _: x, "data must be two tensors"),
    "other sides": (lambda x, y: (x[:, :, :4], y), r"data: images are \[64, 3, 4, 10\]"),
    "bytes": (lambda x, y: (x.to(torch.uint8), y), "data: images are .* of torch.uint8"),
    "none": (lambda x, y: (x[:0], y[:0]), "data: 0 images and 0 labels"),
    "too few labels": (lambda x, y: (x, y[:3]), "data: 64 images and 3 labels"),
    "no numbers": (lambda x, y: (x * float("nan"), y), "data: the images hold NaN or infinity"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_from_python_data_that_does_not_fit_is_refused(name: str) -> None:
    (module, x, y), (spoilt, words) = _module(), UNFIT[name]
    with pytest.raises(EdgepruneError, match=words):
        edgeprune.prune(module, x[:1], method="snows", data=spoilt(x, y))
