"""CAMP-HiVe through the chain and from Python: stages, what ships, what a stop changes, and what is refused."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import edgeprune
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs
from edgeprune.model.traced import load
from edgeprune.pipeline import cycling, deliver
from edgeprune.pipeline.compress import compress, prune
from edgeprune.pipeline.options import recipe_from
from edgeprune.pruning.masks import load_masks
from edgeprune.spec.budget import Budget
from edgeprune.spec.methods import Cycling
from edgeprune.spec.strict import parse
from tests.pipeline import small
from tests.pipeline.test_rebuilding import _module

_recipe = partial(small.recipe, epochs=0, method="camp-hive")
SHORT = {"cycles": 2, "score": "lowrank+fisher", "eigenpairs": 2, "images": 48, "batch_size": 16}
SINGLE = {"pattern": "unstructured", "budget": Budget(sparsity=0.6)}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.1)


def _weights(stage: Path) -> dict[str, Tensor]:
    return dict(load(stage / "network.pt2").module.named_parameters())


def test_weights_go_in_cycles_with_training_between_and_the_zeros_ship(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, **SINGLE, camp_hive=Cycling(**SHORT, between=0.5), precision="int8")
    outcome = compress(recipe, tmp_path / "run")
    names = [stage.name for stage in outcome.stages]
    assert names[:8] == ["dense", "curvature", "cycle", "between", "curvature", "cycle", "finetune", "quantize"]
    assert names[-2:] == ["export", "judge"]
    cuts = [stage.path for stage in outcome.stages if stage.name == "cycle"]
    shares = [json.loads((cut / "cuts.json").read_text(encoding="utf-8"))["reached"]["sparsity"] for cut in cuts]
    assert shares == [pytest.approx(0.6 * (1 - 0.5**3), abs=0.01), pytest.approx(0.6, abs=0.005)]
    first, last = (load_masks(cut / "masks.safetensors").kept for cut in cuts)
    for name, mask in last.items():
        assert not bool((mask & ~first[name]).any())
    for stage in outcome.stages:
        if stage.name in ("between", "finetune"):
            held = first if stage.name == "between" else last
            for name, mask in held.items():
                assert not bool(_weights(stage.path)[name][~mask].any())
    history = json.loads(
        next(s.path for s in outcome.stages if s.name == "between").joinpath("history.json").read_text(encoding="utf-8")
    )
    assert [row["epoch"] for row in history] == [0, 1]
    assert outcome.result is not None
    (note,) = (note for note in outcome.result.notes if note.startswith("CAMP-HiVe: loss on calibration images"))
    assert note.count("% zero: ") == 2
    log = json.loads((cuts[1] / "cycle.json").read_text(encoding="utf-8"))
    assert [len(row["eigenvalues"]) for row in log] == [2, 2]
    assert not any(stage.ran for stage in compress(recipe, tmp_path / "run").stages)


def test_stopped_in_a_cycle_it_goes_on_with_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe(tmp_path, **SINGLE, camp_hive=Cycling(**SHORT), precision="fp32")
    whole = prune(recipe, tmp_path / "undisturbed")
    true, calls = cycling.one_cycle, 0

    def stop(*given: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return true(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(cycling, "one_cycle", stop)
    with pytest.raises(KeyboardInterrupt):
        prune(recipe, tmp_path / "run")
    monkeypatch.setattr(cycling, "one_cycle", true)
    outcome = prune(recipe, tmp_path / "run")
    assert [s.name for s in outcome.stages if s.ran] == ["cycle", "finetune"], "the second curvature was there"
    for name, weight in _weights(whole.stages[-1].path).items():
        assert torch.equal(weight, _weights(outcome.stages[-1].path)[name])


@pytest.mark.parametrize("merge", ["joint", "pair", "constant", "none"])
def test_channels_are_ranked_by_the_curvature_and_merged(tmp_path: Path, merge: str) -> None:
    asked = parse(Cycling, SHORT | {"merge": merge}, "camp_hive")
    recipe = _recipe(tmp_path, budget=Budget(macs=0.6), camp_hive=asked, precision="fp32")
    outcome = prune(recipe, tmp_path / "run")
    each = ["curvature", "sensitivity", "prune", *(["rebuild"] if merge != "none" else [])]
    assert [stage.name for stage in outcome.stages] == ["dense", *each, *each, "cycles", "finetune"]
    stages = {stage.name: stage.path for stage in outcome.stages}  # the last of each name
    assert (stages["curvature"] / "eigenpairs.safetensors").is_file()
    whole = json.loads((stages["cycles"] / "cuts.json").read_text(encoding="utf-8"))
    dense, thin = load(outcome.stages[0].path / "network.pt2"), load(stages["cycles"] / "network.pt2")
    assert whole["reached"]["macs"] == pytest.approx(macs(thin) / macs(dense))
    assert whole["reached"]["macs"] <= 0.6
    assert whole["budget"] == {"macs": 0.6}
    for name, (stay, before) in whole["kept"].items():
        assert len(thin.module.get_parameter(f"{name}.weight")) == stay
        assert len(dense.module.get_parameter(f"{name}.weight")) == before
    if merge == "none":
        return
    cut, merged = _weights(stages["prune"]), _weights(stages["rebuild"])
    assert {n: w.shape for n, w in cut.items()} == {n: w.shape for n, w in merged.items()}
    assert any(not torch.equal(cut[name], merged[name]) for name in cut)


def test_an_absolute_limit_is_approached_in_cycles(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, budget=Budget(macs=0.9, size_mb=0.0045), camp_hive=Cycling(**SHORT), precision="fp32")
    outcome = prune(recipe, tmp_path / "run")
    reports = [
        json.loads((stage.path / "cuts.json").read_text(encoding="utf-8"))
        for stage in outcome.stages if stage.name in ("prune", "cycles")
    ]  # fmt: skip
    sizes = [report["reached"]["size_mb"] for report in reports]
    assert sizes[0] > 0.0045 >= sizes[1] == sizes[2]
    assert reports[2]["budget"] == {"macs": 0.9, "size_mb": 0.0045}


def test_the_released_codes_preset_fills_in_what_is_not_given() -> None:
    asked = parse(Cycling, {"preset": "paper-code", "cycles": 3}, "camp_hive")
    assert (asked.score, asked.merge, asked.by_tensor, asked.cycles) == ("eigvec", "constant", True, 3)
    assert parse(Cycling, asked.model_dump(mode="json"), "camp_hive") == asked


REFUSED = {
    "settings alone": ({"cycles": 3}, "--cycles belongs to --method camp-hive"),
    "a pattern": ({"method": "camp-hive", "pattern": "2:4"}, "camp-hive cuts channels or single weights, no 2:4"),
    "twice": ({"method": "camp-hive", "compensate": "merge"}, "camp-hive merges by itself"),
    "a drop": ({"method": "camp-hive", "max_drop": 0.01}, "--max-drop tries cuts by a short fine-tuning"),
    "no such merge": ({"method": "camp-hive", "merge": "all"}, "unknown --merge 'all'. Known: joint, pair"),
    "no cycle": ({"method": "camp-hive", "cycles": 0}, "cycles"),
    "curvature": ({"method": "camp-hive", "spectrum": True}, "--spectrum is for hap"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(name: str) -> None:
    options, words = REFUSED[name]
    with pytest.raises(EdgepruneError, match=words):
        recipe_from({"model": "resnet20", "data": "digits", "dense_epochs": 1, **options})


def test_more_than_the_layers_may_lose_is_refused_in_a_line(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, pattern="unstructured", budget=Budget(sparsity=0.995), camp_hive=Cycling(**SHORT))
    with pytest.raises(EdgepruneError, match=r"a sparsity of 0\.9\d+ cannot be reached: every layer keeps"):
        prune(recipe, tmp_path / "run")


@pytest.mark.parametrize("more", [{"pattern": "unstructured", "sparsity": 0.7}, {"macs": 0.5}])
def test_from_python(more: dict[str, object]) -> None:
    module, x, _ = _module()
    head = module[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():  # so that it is sure of what it says, and a merge lowers the loss
        head.weight.mul_(300)
        head.bias.copy_(head.bias - module(x).mean(0))
        wanted = module(x)
    before, y, errors = copy.deepcopy(module.state_dict()), wanted.argmax(1), []
    for merge in ("joint", "none"):
        found = edgeprune.prune(
            module, x[:1], method="camp-hive", data=(x, y), camp_hive=SHORT | {"merge": merge}, **more  # type: ignore[arg-type]
        )  # fmt: skip
        with torch.no_grad():
            errors.append(float((found(x) - wanted).square().mean()))
    assert errors[0] < 0.7 * errors[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


REFUSED_IN_PYTHON = {
    "settings alone": ({"camp_hive": {"cycles": 2}}, "camp_hive= belongs to method='camp-hive'"),
    "an unknown setting": ({"method": "camp-hive", "camp_hive": {"cycle": 2}}, "camp_hive: cycle = 2"),
    "a pattern": ({"method": "camp-hive", "pattern": "2:4"}, "camp-hive cuts channels or single weights"),
    "training": ({"method": "camp-hive", "camp_hive": {"between": 1}}, "between= needs a training loop"),
}


@pytest.mark.parametrize("name", REFUSED_IN_PYTHON)
def test_from_python_what_cannot_be_is_refused(name: str) -> None:
    (module, x, y), (options, words) = _module(), REFUSED_IN_PYTHON[name]
    with pytest.raises(EdgepruneError, match=words):
        edgeprune.prune(module, x[:1], data=(x, y), **options)  # type: ignore[arg-type]
    with pytest.raises(EdgepruneError, match="camp-hive needs labelled images"):
        edgeprune.prune(module, x[:1], method="camp-hive")
