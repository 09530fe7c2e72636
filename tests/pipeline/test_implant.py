"""Implants through the chain: the recipe's refusals, the stage's key, what is written down, the INT8 share."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import edgeprune
from edgeprune.compact.apply import Compacted, compact
from edgeprune.compact.implant import implanted
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs, params
from edgeprune.model.traced import Traced, trace
from edgeprune.pipeline import deliver
from edgeprune.pipeline.compress import compress, prune
from edgeprune.pipeline.steps import network
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.implants import choose_with_implants
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import prunable
from edgeprune.pruning.quantity import value
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from tests import tiny
from tests.pipeline import small
from tests.zoo import SHAPE, build

_recipe = partial(small.recipe, epochs=1)


def test_the_chain_writes_down_what_it_implanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.1)
    recipe = _recipe(tmp_path, budget=Budget(macs=0.5), implant_ratio=0.5)
    outcome = compress(recipe, tmp_path / "run")
    assert outcome.result is not None
    (note,) = [note for note in outcome.result.notes if note.startswith("implants:")]
    stages = {stage.name: stage for stage in outcome.stages}
    report = json.loads((stages["prune"].path / "cuts.json").read_text(encoding="utf-8"))
    assert str(sum(report["implanted"].values())) in note
    thin, dense = network(stages["prune"]), network(stages["dense"])
    assert macs(thin) / macs(dense) == pytest.approx(report["reached"]["macs"])
    assert params(thin) / params(dense) == pytest.approx(report["reached"]["params"])
    assert outcome.result.final.int8_macs_share == pytest.approx(1.0)
    tuned = dict(network(stages["finetune"]).module.named_parameters())
    weights = [name for name in tuned if name.endswith("implant.weight") and tuned[name].dim() > 1]
    assert weights
    assert all(bool(tuned[name].any()) for name in weights)


def test_another_ratio_is_another_cut_and_none_is_the_cut_of_before(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, budget=Budget(macs=0.5), method="magnitude")
    cuts = {}
    for ratio in (0.0, 0.5, 0.0):
        outcome = prune(recipe.model_copy(update={"implant_ratio": ratio}), tmp_path / f"run-{ratio}")
        (stage,) = [stage for stage in outcome.stages if stage.name == "prune"]
        cuts.setdefault(ratio, []).append(stage.key)
        implanted = json.loads((stage.path / "cuts.json").read_text(encoding="utf-8"))["implanted"]
        assert bool(implanted) == (ratio > 0)
    assert cuts[0.0][0] == cuts[0.0][1] != cuts[0.5][0]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"budget": Budget(latency_ms=1.0)}, "--latency-ms does not count what implants cost"),
        ({"budget": Budget(memory_mb=1.0)}, "--memory-mb does not count what implants cost"),
        ({"coupling": "union"}, "implants need coupling 'group'"),
        ({"pattern": "2:4"}, "implant_ratio is about channels"),
    ],
)
def test_a_recipe_refuses_what_does_not_know_implants(more: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match=text):
        _recipe(tmp_path, implant_ratio=0.1, **more)
    _recipe(tmp_path, **more)


def test_the_command_refuses_them_in_one_line(tmp_path: Path) -> None:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    done = tiny.run(
        "compress", "net.py:build", "--data", "data.npz", "--dense-epochs", "1",
        "--implant", "0.2", "--latency-ms", "1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    assert "--latency-ms does not count what implants cost" in " ".join(done.err.split())
    assert not (tmp_path / "runs").exists()


def test_the_python_api_takes_a_ratio() -> None:
    module, x = build("Residual"), torch.randn(4, *SHAPE)
    smaller = edgeprune.prune(module, x, macs=0.5, multiple=2, implant_ratio=0.4)
    assert [name for name, _ in smaller.named_parameters() if "implant" in name]
    assert macs(Traced(smaller, SHAPE)) <= 0.5 * macs(trace(module, SHAPE))
    plain, as_before = (edgeprune.prune(module, x, macs=0.5, multiple=2, **more) for more in ({"implant_ratio": 0}, {}))
    assert torch.equal(plain(x), as_before(x))
    with pytest.raises(EdgepruneError, match="a share from 0 up to below 1"):
        edgeprune.prune(module, x, macs=0.5, implant_ratio=1.0)
    with pytest.raises(EdgepruneError, match="--memory-mb does not count"):
        edgeprune.prune(module, x, memory_mb=0.1, implant_ratio=0.1)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("name", ["Residual", "OptionA", "Plain"])
def test_megabytes_count_the_implants(name: str, precision: str) -> None:
    traced = trace(build(name), SHAPE)
    ground = deployed(traced, prunable(traced), Deployment(precision), ["size_mb"])
    whole = value(ground.cost.quantities["size_mb"], ground.cost.units) / 1e6
    scores = Scores({g.name: torch.rand(len(g.units)).double() for g in ground.groups})
    budget = Budget(size_mb=0.5 * whole)
    cuts = choose_with_implants(ground, scores, budget, Limits(2, 0.9), frozenset(), 0.5)
    assert cuts.implanted
    assert cuts.reached["size_mb"] <= 0.5 * whole
    x = torch.randn(2, *SHAPE)
    thin, proof = compact(traced, ground.found, cuts.units, x)
    final = implanted(Compacted(thin, cuts, proof, {}), ground, x).traced
    left = deployed(final, prunable(final), Deployment(precision), ["size_mb"]).cost
    assert value(left.quantities["size_mb"], left.units) / 1e6 == pytest.approx(cuts.reached["size_mb"])
