"""Newton steps on losses whose minima are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from edgeprune.curvature.cg import Stop
from edgeprune.reconstruction.newton import Kept, Newton, Settings
from edgeprune.reconstruction.window import Point


class Quadratic:
    """`w' A w / 2 - b' w`, with a matrix that need not be positive."""

    def __init__(self, size: int, negative: bool = False) -> None:
        torch.manual_seed(0)
        root = torch.randn(size, size, dtype=torch.float64)
        self.a, self.b = root @ root.T / size + torch.eye(size), torch.randn(size, dtype=torch.float64)
        if negative:
            self.a[0, 0] = -5

    def loss(self, tensors: Sequence[Tensor]) -> float:
        (w,) = tensors
        return float(w @ self.a @ w / 2 - self.b @ w)

    def at(self, tensors: Sequence[Tensor], kind: str) -> Point:
        del kind
        (w,) = tensors
        return Point(self.loss(tensors), [self.a @ w - self.b], lambda v: [self.a @ v[0]])


class Bent:
    """`sum (w^2 - 1)^2`: the quadratic model is wrong far from the minimum, and negative between."""

    def loss(self, tensors: Sequence[Tensor]) -> float:
        return float((tensors[0].square() - 1).square().sum())

    def at(self, tensors: Sequence[Tensor], kind: str) -> Point:
        del kind
        (w,) = tensors
        curved = 12 * w.square() - 4
        return Point(self.loss(tensors), [4 * w * (w.square() - 1)], lambda v: [curved * v[0]])


class Lying:
    """A gradient that points the wrong way: no step lowers the loss."""

    def loss(self, tensors: Sequence[Tensor]) -> float:
        return float(tensors[0].sum())

    def at(self, tensors: Sequence[Tensor], kind: str) -> Point:
        del kind
        return Point(self.loss(tensors), [-torch.ones_like(tensors[0])], lambda v: [v[0]])


def test_the_minimum_of_a_quadratic_on_the_kept_weights_is_reached_in_one_step() -> None:
    loss, mask = Quadratic(30), torch.arange(30) % 3 > 0
    newton = Newton(Kept([mask]), Settings(iterations=200, tolerance=1e-12))
    newton._damping, newton._scale = 1e-12, 1e-12
    start = torch.zeros(30, dtype=torch.float64)
    (found,), step = newton.step(loss, [start])  # type: ignore[arg-type]
    expected = torch.zeros_like(start)
    expected[mask] = torch.linalg.solve(loss.a[mask][:, mask], loss.b[mask])
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    assert step.length == 1.0
    assert not found[~mask].any()


@pytest.mark.parametrize("start", [0.1, 0.4, 3.0, -7.0])
def test_the_loss_never_rises_and_a_minimum_is_found(start: float) -> None:
    loss, tensors = Bent(), [torch.full((5,), start, dtype=torch.float64) + torch.arange(5) / 20]
    newton = Newton(Kept([torch.ones(5, dtype=torch.bool)]), Settings())
    before = loss.loss(tensors)
    for _ in range(60):
        tensors, step = newton.step(loss, tensors)  # type: ignore[arg-type]
        assert step.after <= step.before
        assert step.after == pytest.approx(loss.loss(tensors))
        assert step.before == pytest.approx(before)
        before = step.after
    assert before < 1e-6


def test_negative_curvature_stops_the_iterations_and_still_descends() -> None:
    loss = Quadratic(10, negative=True)
    newton = Newton(Kept([torch.ones(10, dtype=torch.bool)]), Settings(iterations=50, tolerance=1e-9))
    _, step = newton.step(loss, [torch.ones(10, dtype=torch.float64)])  # type: ignore[arg-type]
    assert step.why is Stop.NEGATIVE
    assert step.after < step.before


def test_a_step_that_no_length_makes_good_leaves_the_weights_and_says_so() -> None:
    start = torch.zeros(4, dtype=torch.float64)
    newton = Newton(Kept([torch.ones(4, dtype=torch.bool)]), Settings())
    (found,), step = newton.step(Lying(), [start])  # type: ignore[arg-type]
    assert torch.equal(found, start)
    assert step.length == 0.0
    assert step.after == step.before
    first = newton._damping
    newton.step(Lying(), [start])  # type: ignore[arg-type]
    assert first is not None
    assert newton._damping is not None
    assert newton._damping > first  # the next one is more careful


def test_damping_falls_where_the_model_is_right() -> None:
    loss = Quadratic(10)
    newton = Newton(Kept([torch.ones(10, dtype=torch.bool)]), Settings())
    tensors = [torch.zeros(10, dtype=torch.float64)]
    tensors, first = newton.step(loss, tensors)  # type: ignore[arg-type]
    _, second = newton.step(loss, tensors)  # type: ignore[arg-type]
    assert second.damping < first.damping


def test_kept_weights_go_into_a_vector_and_back() -> None:
    masks = [torch.tensor([[True, False], [True, True]]), torch.tensor([False, True])]
    kept, tensors = Kept(masks), [torch.arange(4.0).view(2, 2), torch.tensor([7.0, 8.0])]
    assert kept.size == 4
    flat = kept.flat(tensors)
    assert flat.tolist() == [0, 2, 3, 8]
    for spread, tensor, mask in zip(kept.spread(flat), tensors, masks, strict=True):
        assert torch.equal(spread, tensor * mask)
