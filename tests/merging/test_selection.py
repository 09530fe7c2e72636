"""Which weights stay: the exact number, the same every time, and nothing that went before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.merging.selection import schedule, select, select_by_tensor

SHAPES = [torch.Size((7, 3, 3, 3)), torch.Size((5, 13))]
N = sum(shape.numel() for shape in SHAPES)


def _drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(N, generator=generator, dtype=torch.float64), torch.randn(N, generator=generator)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.923])
def test_the_count_is_exact(sparsity: float) -> None:
    q, w = _drawn()
    stay = N - round(sparsity * N)
    kept = select(q, w, torch.ones(N, dtype=torch.bool), SHAPES, stay, 0.05)
    assert int(kept.sum()) == stay
    assert torch.equal(kept, select(q, w, torch.ones(N, dtype=torch.bool), SHAPES, stay, 0.05))


def test_without_floors_the_most_significant_stay() -> None:
    q, w = _drawn()
    q[: SHAPES[0].numel()] += 10
    kept = select(q, w, torch.ones(N, dtype=torch.bool), SHAPES, 100, 0.0)
    rows = kept[SHAPES[0].numel() :].view(5, 13)
    assert rows.sum(1).tolist() == [1] * 5, "every output keeps one"
    first = kept[: SHAPES[0].numel()]
    assert float(q[: SHAPES[0].numel()][first].min()) >= float(q[: SHAPES[0].numel()][~first].max())


def test_ties_go_to_the_larger_weight_then_to_the_first() -> None:
    w = torch.tensor([1.0, -3.0, 1.0, 2.0])
    q, live = torch.ones(4, dtype=torch.float64), torch.ones(4, dtype=torch.bool)
    found = [select(q, w, live, [torch.Size((1, 4))], stay, 0.0).tolist() for stay in (1, 2, 3)]
    assert found == [
        [False, True, False, False],
        [False, True, False, True],
        [True, True, False, True],
    ]


def test_what_went_stays_away_and_what_is_guarded_stays() -> None:
    q, w = _drawn()
    first = select(q, w, torch.ones(N, dtype=torch.bool), SHAPES, 150, 0.05)
    guarded = torch.zeros(N, dtype=torch.bool)
    guarded[first.nonzero().flatten()[:10]] = True
    second = select(-q, w, first, SHAPES, 60, 0.05, guarded)
    assert int(second.sum()) == 60
    assert not bool((second & ~first).any())
    assert bool(second[guarded].all())


def test_too_much_is_refused_with_what_can_be() -> None:
    q, w = _drawn()
    with pytest.raises(EdgepruneError, match=r"a sparsity of 0\.98\d* cannot be reached: every layer keeps 0\.05"):
        select(q, w, torch.ones(N, dtype=torch.bool), SHAPES, 4, 0.05)


def test_by_tensor_every_tensor_loses_the_same_share() -> None:
    q, w = _drawn()
    kept = select_by_tensor(q, w, torch.ones(N, dtype=torch.bool), SHAPES, 0.4)
    parts = kept.split([shape.numel() for shape in SHAPES])
    assert [int(part.sum()) for part in parts] == [s.numel() - round(0.4 * s.numel()) for s in SHAPES]


def test_the_schedule_is_cubic_and_ends_where_it_was_asked() -> None:
    found = [schedule(0.8, cycle, 6) for cycle in range(7)]
    assert found[0] == 0
    assert found[6] == 0.8
    assert found[3] == pytest.approx(0.8 * (1 - 0.5**3))
    assert found == sorted(found)
