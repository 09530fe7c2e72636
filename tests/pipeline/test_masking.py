"""A mask pattern through the command line: what is said, what is left, and what a kill changes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import onnx
import pytest

from edgeprune.exporting.patterns import find_patterns
from edgeprune.pipeline.folder import recipe_of
from edgeprune.pruning.masks import load_masks
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.pattern import parse_pattern
from tests import tiny
from tests.conftest import Here

COMMAND = (
    "compress", "net.py:build", "--data", "data.npz", "--dense-epochs", "1", "--epochs", "2", "--qat-epochs", "2",
    "--probes", "2", "--batch-size", "16", "--pattern", "2:4", "--target", "jetson-orin-nano", "-o", "run",
)  # fmt: skip
PATIENCE_S = 120.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tiny.Done]:
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.write_net(folder)
    tiny.write_npz(folder / "data.npz")
    done = tiny.run(*COMMAND, "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder / "run", done


def test_the_masks_are_there_and_the_file_that_ships_has_them(undisturbed: tuple[Path, tiny.Done]) -> None:
    run, done = undisturbed
    (pruned,) = run.glob("stages/prune-*")
    masks = load_masks(pruned / "masks.safetensors")
    assert set(masks.kept) == {"body.0.weight"}
    report = json.loads((pruned / "cuts.json").read_text(encoding="utf-8"))
    assert report["kept"] == {"body.0.weight": [2304, 4608]}
    assert report["reached"] == {"sparsity": 0.5}
    dense = {"stem.0.weight": "it reads the image (3 input channels)", "head.weight": "it gives the class scores"}
    assert report["ineligible"] == dense
    bundle = open_bundle(run / "bundle")
    assert bundle.manifest.pattern == "2:4"
    assert bundle.manifest.dense_layers == dense
    found = find_patterns(onnx.load(bundle.model), parse_pattern("2:4"))["body.0"]
    assert found.integer
    assert found.pattern == "2:4"
    (exported,) = run.glob("stages/export-*/patterns.json")
    checked = json.loads(exported.read_text(encoding="utf-8"))
    assert set(checked) == {"pruned", "final", "ineligible"}
    result = json.loads(done.out)
    assert result["pattern"] == "2:4"
    assert result["dense_layers"] == dense
    assert result["final"]["params"] == result["dense"]["params"]
    assert any("50.0 % of the weights of 1 layer are zero" in note for note in result["notes"])
    assert any(note == "stays dense: head: it gives the class scores" for note in result["notes"])
    assert recipe_of(run).budget.limits == {"sparsity": 0.5}


def test_what_will_not_gain_is_said_first(undisturbed: tuple[Path, tiny.Done]) -> None:
    lines = undisturbed[1].err.splitlines()
    assert lines[0].startswith("edgeprune: pattern 2:4: 1 of 1 layers have 256 or fewer input or output channels")


def test_a_replayed_recipe_is_the_same_run(undisturbed: tuple[Path, tiny.Done]) -> None:
    run, _ = undisturbed
    before = tiny.snapshot(run / "stages")
    done = tiny.run("compress", "--recipe", "run/recipe.toml", "-o", "run", cwd=run.parent)
    assert done.code == 0, done.err
    assert tiny.snapshot(run / "stages") == before


def test_killed_in_its_trainings_it_ends_with_the_same_file(place: Path, undisturbed: tuple[Path, tiny.Done]) -> None:
    for stage in ("finetune", "quantize"):
        process = tiny.start(*COMMAND, cwd=place)
        end = time.monotonic() + PATIENCE_S
        while not any(place.glob(f"run/stages/.{stage}-*.work/state.pt")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"{stage} did not begin"
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert any(place.glob(f"run/stages/.{stage}-*.work")), f"{stage} was over before the kill"
    done = tiny.run(*COMMAND, cwd=place)
    assert done.code == 0, done.err
    files = [next(folder.glob("stages/export-*/final.onnx")) for folder in (place / "run", undisturbed[0])]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pattern", "4:2"), "N must be less than M"),
        (("--pattern", "two:four"), "unknown pattern"),
        (("--pattern", "2:4", "--macs", "0.5"), "a budget of macs says nothing"),
        (("--pattern", "1x4", "--params", "0.5"), "Give a sparsity"),
        (("--pattern", "2:4", "--sparsity", "0.7"), "its sparsity is 0.5"),
        (("--pattern", "2:4", "--max-drop", "0.01"), "a budget of max_drop says nothing"),
        (("--pattern", "2:4", "--size-mb", "1"), "a budget of size_mb says nothing"),
        (("--pattern", "2:4", "--exact"), "exact is about channels"),
        (("--pattern", "2:4", "--keep", "nothing*"), "matches no layer"),
        (("--pattern", "2:5"), "no layer of this network can be pruned 2:5"),
        (("--pattern", "unstructured", "--sparsity", "0.99"), "cannot be reached"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    here: Here, place: Path, options: tuple[str, ...], said: str
) -> None:
    done = here("prune", "net.py:build", "--data", "data.npz", "--method", "magnitude", "-o", "run", *options)
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert not list(place.glob("run/stages/prune-*"))
    assert not list(place.glob("run/stages/.prune-*"))


@pytest.mark.parametrize(("pattern", "zeros"), [("1x4", 0.6), ("unstructured", 0.8)])
def test_the_other_patterns_go_by_sparsity(here: Here, place: Path, pattern: str, zeros: float) -> None:
    given = ("--pattern", pattern, "--sparsity", str(zeros), "--method", "magnitude", "--target", "cpu-x86-avx2")
    done = here("prune", "net.py:build", "--data", "data.npz", "--epochs", "1", *given, "-o", "run", "--json")
    assert done.code == 0, done.err
    assert f"pattern {pattern} brings no speed on cpu-x86-avx2" in done.err
    (pruned,) = place.glob("run/stages/prune-*")
    assert load_masks(pruned / "masks.safetensors").sparsity == pytest.approx(zeros, abs=0.01)
