"""Curvature as a file: estimated once, used under any budget, and of nothing else; interrupted, it goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeprune.curvature.curvature import Curvature, load_curvature, save_curvature
from edgeprune.curvature.team import Team
from edgeprune.errors import EdgepruneError
from edgeprune.model.content import content_hash
from edgeprune.model.load import open_model
from edgeprune.model.networks import NETWORKS as BUILT_IN
from edgeprune.model.traced import Traced, load, save, trace
from edgeprune.pipeline import curving
from edgeprune.pipeline.curving import estimate_file
from edgeprune.pipeline.options import recipe_from
from edgeprune.progress import silent
from edgeprune.spec.recipe import Source
from tests import tiny
from tests.conftest import Here

NET = ("net.py:build", "--data", "data.npz")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    monkeypatch.chdir(tmp_path)


def _run(here: Here, *options: str) -> Any:
    done = here("prune", *NET, "--epochs", "1", "--target", "cpu-x86-avx2", *options, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def _cuts(run: str) -> Any:
    (file,) = Path(run).glob("stages/prune-*/cuts.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_one_file_serves_every_budget_without_a_new_probe(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    done = here("curvature", *NET, "--probes", "4", "-o", "c.safetensors", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["probes"] == 4
    assert set(told["layers"]) == {"stem.0.weight", "body.0.weight", "head.weight"}
    assert told["trace"] == pytest.approx(sum(layer["trace"] for layer in told["layers"].values()), rel=1e-5)

    _run(here, "--probes", "4", "--macs", "0.6", "-o", "own")
    monkeypatch.setattr(curving, "channel_traces", None)  # whoever calls it now fails
    for macs in ("0.6", "0.4"):
        _run(here, "--curvature", "c.safetensors", "--macs", macs, "-o", f"run{macs}")
    assert _cuts("run0.6")["kept"] == _cuts("own")["kept"]
    assert _cuts("run0.4")["kept"] != _cuts("own")["kept"]
    assert _cuts("run0.4")["probes"] == 4


def test_a_mask_pattern_takes_it_too(here: Here) -> None:
    assert here("curvature", *NET, "--probes", "4", "-o", "c.safetensors").code == 0
    _run(here, "--curvature", "c.safetensors", "--pattern", "unstructured", "-o", "run")
    assert _cuts("run")["probes"] == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("net.py:flat", "--data", "data.npz"), "is the curvature of another network"),
        ((*NET, "--mean", "0.1,0.1,0.1", "--std", "1,1,1"), "is the curvature of other images"),
        ((*NET, "--probes", "8"), "--probes has no say"),
    ],
)
def test_of_anything_else_it_is_refused_in_a_line(here: Here, options: tuple[str, ...], said: str) -> None:
    assert here("curvature", *NET, "--probes", "2", "-o", "c.safetensors").code == 0
    done = here("prune", *options, "--curvature", "c.safetensors", "-o", "run", "--target", "cpu-x86-avx2")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not Path("run/recipe.toml").exists()  # the corrected command may take the same folder


def test_what_cannot_be_written_or_read_is_refused_before_the_work(here: Here) -> None:
    done = here("curvature", *NET, "-o", "nowhere/c.safetensors")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot be written" in done.err
    done = here("prune", *NET, "--curvature", "c.safetensors")
    assert done.code == 2
    assert "no such file" in done.err
    Path("c.safetensors").write_bytes(b"something else")
    done = here("prune", *NET, "--curvature", "c.safetensors", "-o", "run")
    assert done.code == 2
    assert "cannot be read as a curvature" in done.err
    done = here("curvature", "resnet20", "--data", "digits")
    assert done.code == 2
    assert "without trained weights" in done.err


def test_an_interrupted_estimate_goes_on_and_ends_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_from({"model": "net.py:build", "data": "data.npz", "probes": 16})
    recipe = recipe.model_copy(update={"curvature": recipe.curvature.model_copy(update={"settled": 1.0})})
    whole = estimate_file(recipe, Path("whole.safetensors"), silent, Team())
    assert whole.probes == 16

    class Killed(Exception):
        pass

    asked: list[int] = []

    def kill_later(scores: object, confidence: float) -> float:
        del scores, confidence
        asked.append(1)
        if len(asked) == 1:
            raise Killed
        return 0.0

    monkeypatch.setattr(curving.certainty, "certain_share", kill_later)
    file = Path("part.safetensors")
    with pytest.raises(Killed):
        estimate_file(recipe, file, silent, Team())
    assert not file.exists()
    partial = load_curvature(Path(".part.safetensors.partial"))
    assert partial.probes == 8
    begun: list[Curvature | None] = []
    actual = curving.channel_traces

    def noted(*args: Any, **kwargs: Any) -> Curvature:
        begun.append(kwargs["begun"])
        return actual(*args, **kwargs)

    monkeypatch.setattr(curving, "channel_traces", noted)
    found = estimate_file(recipe, file, silent, Team())
    assert begun[0] is not None
    assert begun[0].probes == 8
    for name, samples in whole.per_probe.items():
        torch.testing.assert_close(found.per_probe[name], samples, rtol=0, atol=0)
    assert not Path(".part.safetensors.partial").exists()


def test_a_partial_file_of_other_settings_is_not_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_from({"model": "net.py:build", "data": "data.npz", "probes": 4})
    estimate_file(recipe, Path("c.safetensors"), silent, Team())
    Path("c.safetensors").rename(".d.safetensors.partial")  # complete, and of no settings that are asked for
    seen: list[object] = []
    actual = curving.channel_traces
    monkeypatch.setattr(curving, "channel_traces", lambda *a, **k: seen.append(k["begun"]) or actual(*a, **k))
    estimate_file(recipe, Path("d.safetensors"), silent, Team())
    assert seen == [None]


def test_a_network_s_content_is_known_again(tmp_path: Path) -> None:
    source = Source(model="net.py:build", data="data.npz")
    traced = open_model(source, 3, 3, 12, 0)
    save(traced, tmp_path / "n.pt2")
    assert content_hash(load(tmp_path / "n.pt2")) == content_hash(traced)
    other = open_model(source, 3, 3, 12, 1)
    assert content_hash(other) != content_hash(traced)


class Doubled(nn.Module):
    """Numbers that are no weights: an argument, a stride, a buffer that no file holds, the order of two layers."""

    def __init__(self, factor: float = 2.0, stride: int = 1, shift: float = 0.0, swapped: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.factor, self.swapped = nn.Conv2d(3, 3, 1, stride), nn.Conv2d(3, 3, 1), factor, swapped
        self.register_buffer("shift", torch.full((1,), shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (self.b, self.a) if self.swapped else (self.a, self.b)
        return (second(first(x).relu()) * self.factor + self.shift).mean((2, 3))


def test_its_content_is_more_than_its_weights(tmp_path: Path) -> None:
    def of(**given: Any) -> Traced:
        torch.manual_seed(0)
        return trace(Doubled(**given), (3, 8, 8))

    hashes = [content_hash(of(**g)) for g in ({}, {"factor": 3.0}, {"stride": 2}, {"shift": 1.0}, {"swapped": True})]
    assert len(set(hashes)) == len(hashes)
    assert content_hash(of()) == hashes[0]
    for i, traced in enumerate((of(), of(stride=2), trace(BUILT_IN["resnet20"].build(10, 3), (3, 32, 32)))):
        save(traced, tmp_path / f"{i}.pt2")
        assert content_hash(load(tmp_path / f"{i}.pt2")) == content_hash(traced)


def test_a_file_may_go_once_it_was_read(here: Here) -> None:
    assert here("curvature", *NET, "--probes", "2", "-o", "c.safetensors").code == 0
    _run(here, "--curvature", "c.safetensors", "-o", "run")
    Path("c.safetensors").unlink()
    assert here("quantize", "run").code == 0


@pytest.mark.parametrize("broken", ["nan", "channels", "words"])
def test_a_broken_file_is_refused(here: Here, broken: str) -> None:
    assert here("curvature", *NET, "--probes", "2", "-o", "c.safetensors").code == 0
    file = Path("c.safetensors")
    found = load_curvature(file)
    if broken == "words":
        save_file({"a": torch.zeros(2, 2)}, file, metadata={"edgeprune": "curvature", "probing": "{"})
    else:
        changed = {n: rows * torch.nan if broken == "nan" else rows[:, 1:] for n, rows in found.per_probe.items()}
        save_curvature(replace(found, per_probe=changed), file)
    done = here("prune", *NET, "--curvature", "c.safetensors", "-o", "run", "--target", "cpu-x86-avx2")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "edgeprune curvature" in done.err


def test_a_norm_by_the_batch_s_statistics_has_curvature_too() -> None:
    import edgeprune

    module = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16, track_running_stats=False),
        nn.ReLU(),
        nn.Conv2d(16, 3, 10),
        nn.Flatten(),
    )
    found = edgeprune.estimate_curvature(module, (torch.randn(16, 3, 12, 12), torch.arange(16) % 3), probes=4)
    assert bool(found.trace("0.weight").value.isfinite().all())


@pytest.mark.parametrize(
    "wrong",
    [{"probes": 0}, {"matrix": "fisher"}, {"precision": "fp16"}, {"batch_size": -1}, {"memory_mb": float("nan")}],
)
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    import edgeprune

    module, x = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Flatten(), nn.Linear(16, 3)), torch.randn(4, 3, 1, 1)
    with pytest.raises(EdgepruneError):
        edgeprune.estimate_curvature(module, (x, torch.arange(4) % 3), **wrong)
    for labels in (torch.arange(3), torch.zeros(4), torch.zeros(4, 3, dtype=torch.int64)):
        with pytest.raises(EdgepruneError, match="label"):
            edgeprune.estimate_curvature(module, (x, labels))


def test_masking_leaves_the_caller_s_weights() -> None:
    import edgeprune

    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(1024, 3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    edgeprune.prune(module, torch.randn(1, 3, 12, 12), pattern="2:4")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_spectrum_comes_into_the_result_and_the_report(here: Here) -> None:
    options = ("--epochs", "1", "--qat-epochs", "1", "--spectrum", "--half", "--target", "cpu-x86-avx2", "-o", "run")
    done = here("compress", *NET, *options, "--json")
    assert done.code == 0, done.err
    spectrum = json.loads(done.out)["spectrum"]
    assert spectrum["weights"] > 0
    assert spectrum["smallest"] <= spectrum["largest"]
    for form in ((), ("--markdown",)):
        shown = here("report", "run", *form)
        assert "density of the Hessian's eigenvalues" in shown.out
        assert "█" in shown.out


def test_two_recipes_that_differ_in_precision_are_two_estimates() -> None:
    single = recipe_from({"model": "net.py:build", "data": "data.npz"})
    half = recipe_from({"model": "net.py:build", "data": "data.npz", "half": True})
    assert (curving.probing(single).precision, curving.probing(half).precision) == ("fp32", "half")


def test_python_users_have_it_as_well() -> None:
    import edgeprune

    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(1024, 3))
    x, y = torch.randn(16, 3, 12, 12), torch.arange(16) % 3
    found = edgeprune.estimate_curvature(module, (x, y), probes=4)
    assert float(found.layer("4.weight").value) > 0
    for macs in (0.6, 0.4):
        edgeprune.prune(module, x[:1], method="hap", macs=macs, curvature=found)
    with pytest.raises(EdgepruneError, match="another network"):
        edgeprune.prune(nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1)), x[:1], method="hap", curvature=found)


@pytest.mark.parametrize("option", [("--spectrum",), ("--curvature", "net.py")])
def test_magnitude_has_no_use_for_it(here: Here, option: tuple[str, ...]) -> None:
    done = here("prune", *NET, "--method", "magnitude", *option)
    assert done.code == 2
    assert "is for hap" in done.err
