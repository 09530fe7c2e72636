from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import load, save, trace
from tests import zoo

BATCH_NORM = torch.ops.aten.batch_norm.default


@pytest.mark.parametrize("name", list(zoo.ZOO))
def test_folding_changes_nothing_but_the_last_bits(name: str) -> None:
    traced = trace(zoo.build(name), zoo.SHAPE)
    x = torch.randn(4, *zoo.SHAPE)
    expected = traced.module(x)
    folded = fold_batch_norm(traced)
    assert (folded.module(x) - expected).norm() <= 1e-5 * expected.norm()
    assert torch.equal(traced.module(x), expected)  # the original is untouched
    assert not any(node.target is BATCH_NORM for node in folded.module.graph.nodes)
    names = {*dict(folded.module.named_parameters()), *dict(folded.module.named_buffers())}
    assert not [n for n in names if "running" in n or "num_batches" in n]


def test_a_bias_is_made_under_the_name_of_its_layer() -> None:
    folded = fold_batch_norm(trace(zoo.build("Residual"), zoo.SHAPE))
    assert dict(folded.module.named_parameters())["stem.0.bias"].shape == (16,)


class _PreActivation(nn.Module):
    """BatchNorm before the convolution, on a tensor that a shortcut reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.conv(self.norm(x).relu())).mean((2, 3)))


def test_a_norm_without_a_layer_of_its_own_stays() -> None:
    traced = trace(_PreActivation().eval(), zoo.SHAPE)
    folded = fold_batch_norm(traced)
    x = torch.randn(2, *zoo.SHAPE)
    assert sum(node.target is BATCH_NORM for node in folded.module.graph.nodes) == 1
    assert torch.equal(folded.module(x), traced.module(x))


def test_a_folded_network_is_saved_and_loaded(tmp_path: Path) -> None:
    folded = fold_batch_norm(trace(zoo.build("Depthwise"), zoo.SHAPE))
    save(folded, tmp_path / "folded.pt2")
    x = torch.randn(3, *zoo.SHAPE)
    assert torch.equal(load(tmp_path / "folded.pt2").module(x), folded.module(x))
