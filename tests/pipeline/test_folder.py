"""The run directory: results are found again by what they were made from, and never half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.pipeline.folder import RECIPE, RESULT, open_run, recipe_of
from edgeprune.spec.budget import Budget
from edgeprune.spec.recipe import Recipe, Source


def _recipe(**changes: object) -> Recipe:
    return Recipe(schema=1, source=Source(model="m", data="d"), target="cpu-x86-avx2", **changes)


def _write(text: str):
    return lambda folder: (folder / "out.txt").write_text(text) and None


def test_a_stage_runs_once_for_the_same_settings_and_again_for_others(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", _recipe()) as run:
        first = run.stage("a", {"x": 1}, [], _write("one"))
        again = run.stage("a", {"x": 1}, [], _write("never"))
        other = run.stage("a", {"x": 2}, [], _write("two"))
        after_first, after_other = (run.stage("b", {}, [stage], _write("b")) for stage in (first, other))
    assert (first.ran, again.ran, other.ran) == (True, False, True)
    assert (again.path / "out.txt").read_text() == "one"
    assert first.path == again.path != other.path
    assert after_first.key != after_other.key


def test_an_interrupted_stage_leaves_no_result_and_goes_on_in_its_folder(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "state.pt").write_text("half")
        raise KeyboardInterrupt

    def goes_on(folder: Path) -> None:
        (folder / "out.txt").write_text((folder / "state.pt").read_text() + " and half")

    with open_run(tmp_path / "run", _recipe()) as run:
        with pytest.raises(KeyboardInterrupt):
            run.stage("a", {}, [], killed)
        assert not [p for p in (tmp_path / "run" / "stages").iterdir() if not p.name.startswith(".")]
        done = run.stage("a", {}, [], goes_on)
    assert (done.path / "out.txt").read_text() == "half and half"
    assert not (done.path / "state.pt").exists()


def test_the_recipe_comes_back_and_another_one_is_refused(tmp_path: Path) -> None:
    asked = _recipe(budget=Budget(macs=0.3), keep=("head*",))
    with open_run(tmp_path / "run", asked):
        pass
    assert recipe_of(tmp_path / "run") == asked
    before = (tmp_path / "run" / RECIPE).read_bytes()
    with (
        pytest.raises(EdgepruneError, match=r"another recipe \(budget\.macs = 0\.3, asked 0\.5"),
        open_run(tmp_path / "run", _recipe(keep=("head*",))),
    ):
        pass
    assert (tmp_path / "run" / RECIPE).read_bytes() == before


def test_two_processes_do_not_share_a_run_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", _recipe()),
        pytest.raises(EdgepruneError, match="another edgeprune"),
        open_run(tmp_path / "run", _recipe()),
    ):
        pass
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    with pytest.raises(EdgepruneError, match="not a run directory"), open_run(tmp_path / "photos", _recipe()):
        pass
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def test_after_a_mistake_a_corrected_recipe_goes_on_from_the_stages_that_are_done(tmp_path: Path) -> None:
    def mistaken() -> None:
        with open_run(tmp_path / "run", _recipe(keep=("haed*",))) as run:
            run.stage("dense", {}, [], _write("trained"))
            raise EdgepruneError("--keep 'haed*' matches no layer")

    with pytest.raises(EdgepruneError, match="haed"):
        mistaken()
    with open_run(tmp_path / "run", _recipe(keep=("head*",))) as run:
        assert not run.stage("dense", {}, [], _write("never")).ran


@pytest.mark.parametrize("published", [True, False])
def test_a_recipe_that_lay_there_before_stays_whatever_happens(tmp_path: Path, published: bool) -> None:
    with open_run(tmp_path / "run", _recipe()) as run:
        run.stage("prune", {}, [], _write("pruned"))
        if published:
            run.publish(RESULT, "{}")
    with pytest.raises(EdgepruneError, match="syntax"), open_run(tmp_path / "run", _recipe()):
        raise EdgepruneError("net.py: syntax error")
    assert recipe_of(tmp_path / "run") == _recipe()


def test_a_mistake_before_any_stage_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("run", "mine"):
        with pytest.raises(EdgepruneError, match="no such"), open_run(tmp_path / name, _recipe()):
            raise EdgepruneError("no such layer")
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "mine").iterdir()), "a folder that was there before stays, empty as it was"
