"""AMP-HASA through the chain, on a network of seconds: weights, N:M, channels; cycles; what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import edgeprune
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs
from edgeprune.pipeline import deliver, gain
from edgeprune.pipeline.compress import compress, prune
from edgeprune.pipeline.options import recipe_from
from edgeprune.pipeline.steps import network
from edgeprune.pruning.masks import load_masks
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Allocating
from tests.pipeline import small
from tests.pipeline.test_rebuilding import _module

_recipe = partial(small.recipe, epochs=0, method="amp-hasa", precision="fp32")
FEW = {"evaluations": 6, "images": 32, "fresh_images": 16}


@pytest.fixture(autouse=True)
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.1)
    monkeypatch.setattr(gain, "SECONDS", 0.0)


@pytest.mark.parametrize("allocator", ["cem", "lamp", "uniform"])
def test_weights_go_to_the_exact_share(allocator: str, tmp_path: Path) -> None:
    settings = {"allocator": allocator} | (FEW if allocator == "cem" else {})
    recipe = _recipe(tmp_path, pattern="unstructured", budget=Budget(sparsity=0.6), amp_hasa=Allocating(**settings))
    outcome = compress(recipe, tmp_path / "run")
    (cut,) = (stage.path for stage in outcome.stages if (stage.path / "masks.safetensors").is_file())
    kept = load_masks(cut / "masks.safetensors").kept
    total = sum(mask.numel() for mask in kept.values())
    assert sum(int((~mask).sum()) for mask in kept.values()) == -(-6 * total // 10)
    assert outcome.result is not None
    (allocation,) = outcome.result.allocations
    assert allocation.allocator == allocator
    assert any("amp-hasa" in note.lower() or "allocation" in note for note in outcome.result.notes)


def test_an_n_m_pattern_takes_the_score_alone(tmp_path: Path) -> None:
    outcome = prune(_recipe(tmp_path, pattern="2:4"), tmp_path / "run")
    (cut,) = (stage.path for stage in outcome.stages if (stage.path / "masks.safetensors").is_file())
    for mask in load_masks(cut / "masks.safetensors").kept.values():
        assert int(mask.sum()) == mask.numel() // 2


def test_channels_go_within_the_multiply_adds_in_cycles(tmp_path: Path) -> None:
    settings = Allocating(**FEW, allocator="cem", cycles=2, cycle_epochs=0)
    recipe = _recipe(tmp_path, budget=Budget(macs=0.6), amp_hasa=settings)
    outcome = compress(recipe, tmp_path / "run")
    stages = {stage.name: stage for stage in outcome.stages}
    assert macs(network(stages["finetune"])) <= 0.6 * macs(network(stages["dense"]))
    assert outcome.result is not None
    assert len(outcome.result.allocations) == 2


def test_the_same_recipe_again_searches_nothing_anew(tmp_path: Path) -> None:
    settings = Allocating(**FEW, allocator="random")
    recipe = _recipe(tmp_path, pattern="unstructured", budget=Budget(sparsity=0.5), amp_hasa=settings)
    first, again = (prune(recipe, tmp_path / "run") for _ in range(2))
    assert [stage.key for stage in first.stages] == [stage.key for stage in again.stages]


REFUSED = {
    "settings alone": ({"allocator": "cem"}, "--allocator belongs to --method amp-hasa"),
    "a drop": ({"method": "amp-hasa", "max_drop": 0.01}, "--max-drop tries many budgets"),
    "a search of a rule": ({"method": "amp-hasa", "allocator": "lamp", "ray": 2}, "--allocator lamp searches nothing"),
    "a search of a pattern": ({"method": "amp-hasa", "pattern": "2:4", "evaluations": 9}, "nothing is allocated"),
    "no such allocator": ({"method": "amp-hasa", "allocator": "best"}, "best"),
    "union": ({"method": "amp-hasa", "coupling": "union"}, "--coupling union is not for --method amp-hasa"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(name: str) -> None:
    options, words = REFUSED[name]
    with pytest.raises(EdgepruneError, match=words):
        recipe_from({"model": "resnet20", "data": "digits", "dense_epochs": 1, **options})


@pytest.mark.parametrize("more", [{"pattern": "unstructured", "sparsity": 0.7}, {"macs": 0.5}])
def test_from_python(more: dict[str, object]) -> None:
    module, x, y = _module()
    y = y if torch.is_tensor(y) and y.dtype == torch.int64 else module(x).argmax(1)
    found = edgeprune.prune(
        module, x[:1], method="amp-hasa", data=(x, y), amp_hasa={**FEW, "allocator": "cem"}, **more  # type: ignore[arg-type]
    )  # fmt: skip
    assert bool(found(x).isfinite().all())
    if "sparsity" in more:
        total = sum(mask.numel() for mask in found.kept.values())
        assert sum(int((~mask).sum()) for mask in found.kept.values()) / total == pytest.approx(0.7, abs=0.01)
