"""Eigenpairs and densities against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeprune.curvature.density import spectral_density
from edgeprune.curvature.eigen import block_power, lanczos
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from tests.curvature.oracle import full_hessian, problem, symmetric

EXACT = {"tolerance": 1e-8, "dtype": torch.float64}


@pytest.mark.parametrize("name", ["smooth", "attention", "rectified"])
def test_of_a_network_they_are_numpy_s(name: str) -> None:
    traced, weights, x, y = problem(name)
    matrix = Matrix(traced, weights, x, y, Probing(batch_size=4))
    values, vectors = np.linalg.eigh(full_hessian(traced, weights, x, y).numpy())
    order = np.abs(values).argsort()[::-1][:4]
    power = block_power(matrix.product, matrix.size, 4, rounds=4000, **EXACT)
    krylov = lanczos(matrix.product, matrix.size, 4, **EXACT)
    for found in (power, krylov):
        assert found.converged
        np.testing.assert_allclose(found.values.numpy(), values[order], rtol=1e-6)
        overlap = np.abs(np.sum(found.vectors.numpy() * vectors[:, order], 0))
        np.testing.assert_allclose(overlap, 1, atol=1e-6)
    assert krylov.products < power.products


def test_the_largest_are_not_those_of_largest_magnitude() -> None:
    a = symmetric(30, 0, lambda v: torch.cat([v[:5].abs() + 1, -v[5:].abs() - 3]))
    values = np.linalg.eigvalsh(a.numpy())
    found = lanczos(lambda v: a @ v, 30, 3, which="largest", **EXACT)
    np.testing.assert_allclose(found.values.numpy(), values[::-1][:3], rtol=1e-6)


def test_known_vectors_are_deflated() -> None:
    a = symmetric(25, 1)
    first = lanczos(lambda v: a @ v, 25, 2, **EXACT)
    then = lanczos(lambda v: a @ v, 25, 2, deflate=first.vectors, **EXACT)
    wanted = np.sort(np.abs(np.linalg.eigvalsh(a.numpy())))[::-1]
    np.testing.assert_allclose(np.abs(torch.cat([first.values, then.values]).numpy()), wanted[:4], rtol=1e-6)


def test_a_warm_start_costs_fewer_products() -> None:
    a = symmetric(40, 2)
    moved = a + 1e-3 * symmetric(40, 3)
    cold = block_power(lambda v: moved @ v, 40, 3, rounds=2000, **EXACT)
    near = block_power(lambda v: a @ v, 40, 3, rounds=2000, **EXACT)
    warm = block_power(
        lambda v: moved @ v, 40, 3, start=near.vectors, rounds=2000, extra=0, tolerance=1e-3, dtype=torch.float64
    )
    fresh = block_power(lambda v: moved @ v, 40, 3, rounds=2000, extra=0, tolerance=1e-3, dtype=torch.float64)
    assert warm.products < fresh.products
    np.testing.assert_allclose(warm.values.numpy(), cold.values.numpy(), rtol=1e-3)


def test_an_eigenvalue_that_is_there_more_than_once_is_found_as_often() -> None:
    found = lanczos(lambda v: 2 * v, 10, 3, **EXACT)
    np.testing.assert_allclose(found.values.numpy(), [2, 2, 2])
    np.testing.assert_allclose((found.vectors.T @ found.vectors).numpy(), np.eye(3), atol=1e-12)
    assert found.converged
    for pairs in (lanczos(torch.zeros_like, 10, 2), block_power(torch.zeros_like, 10, 2)):
        assert pairs.converged
        assert pairs.values.tolist() == [0, 0]


def test_what_did_not_converge_says_so() -> None:
    a = symmetric(40, 4)
    assert not block_power(lambda v: a @ v, 40, 3, rounds=2, **EXACT).converged
    assert not lanczos(lambda v: a @ v, 40, 3, steps=5, **EXACT).converged


def test_a_matrix_of_low_rank_ends_the_iteration() -> None:
    u = torch.linalg.qr(torch.randn(30, 2, dtype=torch.float64)).Q
    found = lanczos(lambda v: u @ (torch.tensor([[3.0], [1.0]], dtype=torch.float64) * (u.T @ v)), 30, 2, **EXACT)
    np.testing.assert_allclose(found.values.numpy(), [3, 1], rtol=1e-8)
    assert found.products <= 4


def test_the_density_has_the_moments_of_the_eigenvalues() -> None:
    a = symmetric(200, 5, lambda v: v**3)
    found = spectral_density(lambda v: a @ v, 200, probes=40, steps=30, dtype=torch.float64)
    values = torch.linalg.eigvalsh(a)
    for power in (1, 2, 3):
        estimate = (found.weights * found.nodes**power).sum(1)
        error = float(estimate.std() / 40**0.5)
        assert abs(float(estimate.mean()) - float((values**power).mean())) < 4 * error
    assert float(found.nodes.max()) == pytest.approx(float(values.max()), rel=1e-6)
    grid, height = found.curve()
    assert float(torch.trapezoid(height, grid)) == pytest.approx(1, abs=1e-2)
