"""The search for the smallest network within a drop: it halves, it resumes, and it scores once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.pipeline import cutting, search, steps
from edgeprune.pipeline.compress import prune
from edgeprune.pipeline.folder import Stage
from edgeprune.spec.budget import Budget, Search
from edgeprune.spec.recipe import Recipe, Source, Training
from tests import tiny


def _stage(folder: Path, name: str, file: str, content: object) -> Stage:
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / file).write_text(json.dumps(content), encoding="utf-8")
    return Stage(name, name, path, 0.0, ran=True)


def _search(folder: Path, monkeypatch: pytest.MonkeyPatch, accuracy, step: float = 0.0, trials: int = 8):
    """Search on a network whose accuracy is a known function of its multiply-adds, cut in steps of a width."""

    def cut(_work, _dense, _scored, budget: Budget) -> Stage:
        reached = budget.macs - budget.macs % step if step else budget.macs
        return _stage(folder, f"prune-{budget.macs}", "cuts.json", {"reached": {"macs": reached}})

    def trial(_work, _dense, pruned: Stage, _label: str) -> Stage:
        reached = json.loads((pruned.path / "cuts.json").read_text())["reached"]["macs"]
        return _stage(folder, f"trial-{pruned.name}", "history.json", [{"val_accuracy": accuracy(reached)}])

    base = _stage(folder, "baseline", "baseline.json", {"val_accuracy": 0.9, "smallest_macs": 0.1})
    monkeypatch.setattr(cutting, "prune", cut)
    monkeypatch.setattr(steps, "trial", trial)
    monkeypatch.setattr(search, "baseline", lambda *_: base)
    work = SimpleNamespace(recipe=SimpleNamespace(search=Search(trials=trials)))
    return search.search(work, base, None, 0.02)


@pytest.mark.parametrize("edge", [0.13, 0.4, 0.777, 0.95])
def test_it_halves_its_way_to_the_smallest_budget_within(edge: float, tmp_path: Path, monkeypatch) -> None:
    _, budget, found = _search(tmp_path, monkeypatch, lambda macs: 0.9 if macs >= edge else 0.5)
    assert edge <= budget.macs <= edge + 0.9 / 2**8 + 1e-3
    assert len(found.trials) == 8
    assert budget.macs == min(trial.macs for trial in found.trials if trial.within)
    assert all(trial.within == (trial.macs >= edge) for trial in found.trials)


def test_it_goes_on_below_what_was_reached_and_ends_where_nothing_is_left(tmp_path: Path, monkeypatch) -> None:
    _, budget, found = _search(tmp_path, monkeypatch, lambda _: 0.89, step=0.25)
    assert [trial.macs_reached for trial in found.trials[:2]] == pytest.approx([0.5, 0.25])
    assert budget.macs < 0.2
    assert len(found.trials) < 8


def test_a_drop_that_nothing_keeps_is_one_line(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(EdgepruneError, match=r"none of 3 trials kept it; the largest, --macs 0\.88\d, lost 0\.4000"):
        _search(tmp_path, monkeypatch, lambda _: 0.5, trials=3)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    return Recipe.model_validate(
        {
            "source": Source(model=f"{tmp_path}/net.py:build", data=f"{tmp_path}/data.npz"),
            "target": "cpu-x86-avx2",
            "budget": {"max_drop": 0.1},
            "search": {"trials": 3},
            "curvature": {"probes": 2},
            "training": Training(dense_epochs=4, epochs=2, batch_size=16, learning_rate=0.05),
        }
    )


def test_killed_in_a_trial_it_goes_on_and_ends_with_the_same_network(recipe: Recipe, tmp_path: Path) -> None:
    whole = prune(recipe, tmp_path / "whole")

    def stop(label: str, _done: int, _total: int) -> None:
        if label.startswith("trial 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(recipe, tmp_path / "run", stop)
    before = {path.name for path in (tmp_path / "run" / "stages").iterdir() if not path.name.startswith(".")}
    again = prune(recipe, tmp_path / "run")
    assert {stage.path.name for stage in again.stages if not stage.ran} == before
    assert again.search == whole.search
    assert [stage.key for stage in again.stages] == [stage.key for stage in whole.stages]
    names = [stage.name for stage in again.stages]
    assert names[:4] == ["dense", "curvature", "sensitivity", "baseline"]
    assert names.count("curvature") == 1
    assert names[-1] == "finetune"
    assert names.count("prune") == names.count("trial") <= 3
    accuracies = [
        json.loads((stage.path / "history.json").read_text()) for stage in again.stages if stage.name == "trial"
    ]
    assert [max(row["val_accuracy"] for row in rows) for rows in accuracies] == [
        trial.val_accuracy for trial in again.search.trials
    ]


def test_another_budget_costs_no_new_probe(recipe: Recipe, tmp_path: Path) -> None:
    keys = set()
    for name, budget in (("a", Budget(macs=0.5)), ("b", Budget(params=0.6, size_mb=1.0))):
        changed = recipe.model_copy(update={"budget": budget, "training": Training(epochs=0)})
        keys.add(next(stage.key for stage in prune(changed, tmp_path / name).stages if stage.name == "curvature"))
    assert len(keys) == 1
