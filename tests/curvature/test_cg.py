from __future__ import annotations

import pytest
import torch

from edgeprune.curvature.cg import Stop, conjugate_gradients
from tests.curvature.oracle import symmetric


def test_it_solves_what_numpy_solves() -> None:
    a, b = symmetric(20, 0, lambda v: v.abs() + 0.1), torch.randn(20, dtype=torch.float64)
    found = conjugate_gradients(lambda v: a @ v, b, damping=0.5, tolerance=1e-10)
    assert found.why is Stop.SOLVED
    torch.testing.assert_close(found.x, torch.linalg.solve(a + 0.5 * torch.eye(20, dtype=torch.float64), b))
    assert float((b - a @ found.x - 0.5 * found.x).norm() / b.norm()) <= 1.01e-10


def test_it_says_why_it_stopped() -> None:
    b = torch.ones(20, dtype=torch.float64)
    hard = symmetric(20, 1, lambda v: v.abs() ** 8 + 1e-9)
    assert conjugate_gradients(lambda v: hard @ v, b, iterations=3).why is Stop.SPENT
    stalled = conjugate_gradients(lambda v: hard @ v, b, tolerance=0.0, iterations=2000)
    assert stalled.why is Stop.STALLED
    assert conjugate_gradients(lambda v: hard @ v, 0 * b).why is Stop.SOLVED


@pytest.mark.parametrize("decades", [2, 4, 6, 8])
def test_it_goes_on_where_the_residual_rises_on_the_way(decades: int) -> None:
    diagonal = torch.logspace(-decades, 0, 100, dtype=torch.float64)
    b = torch.ones(100, dtype=torch.float64)
    found = conjugate_gradients(lambda v: diagonal * v, b, tolerance=1e-6, iterations=5000)
    assert found.why is Stop.SOLVED
    torch.testing.assert_close(diagonal * found.x, b, rtol=0, atol=1e-4)


def test_what_is_not_finite_is_said() -> None:
    found = conjugate_gradients(lambda v: v * float("nan"), torch.ones(3))
    assert found.why is Stop.BROKEN
    assert bool((found.x == 0).all())


def test_negative_curvature_leaves_a_descent_direction() -> None:
    a, b = -torch.eye(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    found = conjugate_gradients(lambda v: a @ v, b)
    assert found.why is Stop.NEGATIVE
    assert float(found.x.dot(b)) > 0
    assert found.residual == pytest.approx(float((b - a @ found.x).norm() / b.norm()))
    enough = conjugate_gradients(lambda v: a @ v, b, damping=2.0)
    assert enough.why is Stop.SOLVED
    torch.testing.assert_close(enough.x, b)


def test_a_start_and_a_preconditioner_save_iterations() -> None:
    a, b = symmetric(60, 2, lambda v: v.abs() ** 3 + 1e-2), torch.randn(60, dtype=torch.float64)
    inverse = torch.linalg.inv(a + 1e-3 * torch.eye(60, dtype=torch.float64))
    plain = conjugate_gradients(lambda v: a @ v, b, tolerance=1e-6, iterations=500)
    helped = conjugate_gradients(lambda v: a @ v, b, tolerance=1e-6, precondition=lambda r: inverse @ r)
    assert helped.iterations < plain.iterations / 3
    again = conjugate_gradients(lambda v: a @ v, b, tolerance=1e-5, start=plain.x)
    assert again.iterations == 0
