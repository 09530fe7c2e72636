"""Exporting: what comes out, and the line that says why it could not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import load, save, trace
from tests.zoo import SHAPE, ZOO, build


@pytest.mark.parametrize("name", ["Plain", "Residual", "OptionA"])
def test_the_graph_computes_what_the_module_does_and_writes_nothing_in_place(name: str, tmp_path: Path) -> None:
    module = build(name)
    traced = trace(module, SHAPE)
    names = [n.target._schema.name for n in traced.module.graph.nodes if n.op == "call_function"]
    assert not [n for n in names if n.endswith("_")]
    assert set(dict(traced.module.named_parameters())) == set(dict(module.named_parameters()))
    save(traced, tmp_path / "net.pt2")
    again = load(tmp_path / "net.pt2")
    for batch in (1, 2, 5):
        x = torch.randn(batch, *SHAPE)
        torch.testing.assert_close(traced.module(x), module(x))
        assert torch.equal(again.module(x), traced.module(x))


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y.view(len(y), -1)


class Branch(FixedBatch):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y if y.sum() > 0 else -y


class WritesToAView(FixedBatch):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        left = y[:, :2]
        left.add_(1.0)
        return (y + left.sum()).flatten(1)


class SharesMemory(FixedBatch):
    """Dropout in evaluation returns its input itself, so the ReLU writes into what is added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return (torch.relu_(nn.functional.dropout(y, training=self.training)) + y).flatten(1)


class Pair(FixedBatch):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return x, self.conv(x)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (FixedBatch, r"fixes the batch size.*test_traced\.py.*y\.view\(len\(y\), -1\)"),
        (Branch, r"cannot be exported.*test_traced\.py.*y\.sum\(\) > 0"),
        (WritesToAView, r"view of a tensor"),
        (SharesMemory, r"differs from the model|view of a tensor"),
        (Pair, r"returns tuple, not one tensor"),
    ],
)
def test_what_cannot_be_exported_is_told_with_its_line(kind: type[nn.Module], text: str) -> None:
    with pytest.raises(EdgepruneError, match=text) as error:
        trace(kind(), (3, 8, 8))
    assert "\n" not in str(error.value)


def test_the_modules_modes_stay_as_they_were() -> None:
    module = build("Plain").train()
    module.b.eval()
    trace(module, SHAPE)
    assert module.training
    assert module.a.training
    assert not module.b.training


def test_a_wrong_size_and_a_file_that_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match=r"does not take a 1x12x12 input.*Give --image-size"):
        trace(ZOO["Plain"](), (1, 12, 12))
    (tmp_path / "bad.pt2").write_bytes(b"nothing")
    with pytest.raises(EdgepruneError, match="not a readable"):
        load(tmp_path / "bad.pt2")
