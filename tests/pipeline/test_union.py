"""A run under union coupling: searched, cut, shipped in INT8, and what it says of its spread terms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.model.count import macs, params
from edgeprune.model.traced import load
from edgeprune.pipeline.ground import freezing
from edgeprune.pipeline.options import recipe_from
from tests import tiny
from tests.conftest import Here

NET = """\
from torch import Tensor, nn


def conv(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv(3, 32, 2), nn.Linear(32, 3)
        self.blocks = nn.ModuleList(nn.Sequential(conv(32, 32), nn.ReLU(), conv(32, 32)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for block in self.blocks:
            x = (x + block(x)).relu()
        return self.head(x.mean((2, 3)))


def build():
    return Net()
"""
ARGUMENTS = ("net.py:build", "--data", "data.npz", "--coupling", "union", "--epochs", "1", "--probes", "4", "-o", "run")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    tiny.write_npz(tmp_path / "data.npz")
    return tmp_path


@pytest.mark.parametrize("target", ["jetson-orin-nano", "cpu-x86-vnni"])
def test_the_chain_ships_spread_terms_and_says_so(here: Here, folder: Path, target: str) -> None:
    done = here("compress", *ARGUMENTS, "--params", "0.5", "--target", target)
    assert done.code == 0, done.err
    (pruned,) = (folder / "run").glob("**/cuts.json")
    cuts = json.loads(pruned.read_text())
    dense, thin = (load(next((folder / "run").glob(f"**/{stage}*/network.pt2"))) for stage in ("dense", "prune"))
    assert params(thin) / params(dense) == pytest.approx(cuts["reached"]["params"])
    assert macs(thin) / macs(dense) == pytest.approx(cuts["reached"]["macs"])
    assert "memory_mb" not in cuts["reached"]
    assert cuts["spread"] > 0
    notes = json.loads((folder / "run" / "result.json").read_text())["notes"]
    assert any(note.startswith(f"{cuts['spread']} term") and "spread over more" in note for note in notes)


def test_a_drop_is_searched_down_to_what_these_scores_reach(here: Here, folder: Path) -> None:
    done = here("prune", *ARGUMENTS, "--max-drop", "0.9", "--trials", "2", "--trial-epochs", "0")
    assert done.code == 0, done.err
    (base,) = (folder / "run").glob("**/baseline.json")
    assert json.loads(base.read_text())["smallest_macs"] > 0


def test_memory_is_refused_in_one_line(here: Here, folder: Path) -> None:
    done = here("compress", *ARGUMENTS, "--memory-mb", "1")
    assert done.code == 2
    assert "--memory-mb does not count what --coupling union adds" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (folder / "run").exists()


def test_stages_are_keyed_by_the_coupling() -> None:
    given = {"model": "resnet20", "data": "digits", "dense_epochs": 1, "target": "cpu-x86-avx2"}
    group, union = (recipe_from({**given, "coupling": coupling}) for coupling in ("group", "union"))
    assert freezing(group) != freezing(union)
