"""The approximate inverse: exact where it is known to be, symmetric and positive, and worth its while."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edgeprune.reconstruction import precondition
from edgeprune.reconstruction.cascade import Walking
from edgeprune.reconstruction.newton import Settings
from edgeprune.reconstruction.precondition import RowBlocks
from edgeprune.reconstruction.snows import Snows, snows
from tests.reconstruction.nets import attending, block, half, twin


def _inputs(groups: int, size: int) -> Tensor:
    root = torch.randn(groups, size, 3 * size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return root @ root.transpose(1, 2) / (3 * size)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_it_inverts_the_damped_blocks(groups: int, bias: bool) -> None:
    kept, inputs = half(torch.Size([4, 6])), _inputs(groups, 6)
    kept[1] = False
    weights, damping = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64), 0.1
    apply = RowBlocks(inputs, kept, inputs).at(weights, damping)
    v = torch.randn(int(kept.sum()) + 4 * bias, dtype=torch.float64)
    expected = []
    for row, pieces in enumerate(v[: int(kept.sum())].split(kept.sum(1).tolist())):
        a = inputs[row // (4 // groups)][kept[row]][:, kept[row]]
        expected.append(torch.linalg.solve(weights[row] * a + damping * torch.eye(len(a), dtype=a.dtype), pieces))
    expected += [v[-4:] / (weights + damping)] if bias else []
    torch.testing.assert_close(apply(v), torch.cat(expected))


def test_where_blocks_are_too_large_their_diagonals_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precondition, "AT_MOST", 0)
    kept, inputs = half(torch.Size([3, 5])), _inputs(1, 5)
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    v = torch.randn(int(kept.sum()), dtype=torch.float64)
    diagonal = (weights[:, None] * inputs[0].diagonal()[None])[kept]
    torch.testing.assert_close(RowBlocks(inputs, kept, inputs).at(weights, 0.1)(v), v / (diagonal + 0.1))


def test_with_no_operation_ahead_it_is_the_matrix_and_one_iteration_is_enough() -> None:
    traced, x = block()
    masks = {"a.weight": half(traced.module.get_parameter("a.weight").shape)}
    asked = Snows(
        steps=0, warm=False, newton=Settings(iterations=50, tolerance=1e-4), walking=Walking(batch_size=len(x))
    )
    (log,) = snows(twin(traced), traced, masks, x, asked)
    assert log.steps[0]["iterations"] <= 3  # all images are one batch, so the moments are its own
    (plain,) = snows(twin(traced), traced, masks, x, replace(asked, precondition=False))
    assert plain.steps[0]["iterations"] > 10


@pytest.mark.parametrize("network", [block, attending])
def test_it_saves_iterations_to_the_end_of_the_network(network: object) -> None:
    traced, x = network()  # type: ignore[operator]
    weight = "a.weight" if network is block else "v.weight"
    masks = {weight: half(traced.module.get_parameter(weight).shape)}
    asked = Snows(warm=False, newton=Settings(iterations=200, tolerance=1e-3), walking=Walking(batch_size=len(x)))
    counts = []
    for preconditioned in (True, False):
        (log,) = snows(twin(traced), traced, masks, x, replace(asked, precondition=preconditioned))
        counts.append(log.steps[0]["iterations"])
    assert counts[0] < 0.7 * counts[1]
