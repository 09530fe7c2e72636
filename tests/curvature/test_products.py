"""Products against the full matrices, and against differences of gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from edgeprune.curvature.diagonal import diagonal
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.model.networks import NETWORKS as BUILT_IN
from edgeprune.model.traced import trace
from tests.curvature.oracle import NETWORKS, flat, full_gauss_newton, full_hessian, problem


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
@pytest.mark.parametrize("batch", [10, 3])
def test_products_equal_the_full_matrix(name: str, kind: str, batch: int) -> None:
    traced, weights, x, y = problem(name)
    before = {n: p.clone() for n, p in traced.module.named_parameters()}
    matrix = Matrix(traced, weights, x, y, Probing(batch_size=batch, kind=kind))
    whole = full_hessian(traced, weights, x, y) if kind == "hessian" else full_gauss_newton(traced, weights, x)
    vectors = torch.randn(matrix.size, 3, dtype=torch.float64)
    for _ in range(2):  # graphs that are kept give the same again
        found, expected = matrix.product(vectors), whole @ vectors
        assert float((found - expected).norm() / expected.norm()) < 1e-10
    assert all(torch.equal(p, before[n]) and p.requires_grad for n, p in traced.module.named_parameters())


def test_a_memory_limit_changes_nothing_but_the_batches() -> None:
    traced, weights, x, y = problem("smooth")
    narrow = Matrix(traced, weights, x, y, Probing(memory_mb=1e-3))
    v = torch.randn(narrow.size, dtype=torch.float64)
    torch.testing.assert_close(narrow.product(v), Matrix(traced, weights, x, y).product(v))


def test_biases_and_norms_have_products_too() -> None:
    traced, _, x, y = problem("rectified")
    names = ["bn.weight", "bn.bias", "a.weight", "head.bias"]
    matrix = Matrix(traced, names, x, y)
    v = torch.randn(matrix.size, dtype=torch.float64)
    expected = full_hessian(traced, names, x, y) @ v
    assert float((matrix.product(v) - expected).norm() / expected.norm()) < 1e-10


@pytest.mark.parametrize("network", ["resnet20", "vit"])
def test_central_differences_of_the_gradient_agree(network: str) -> None:
    torch.manual_seed(0)
    if network == "vit":
        from edgeprune.model.networks.vit import VisionTransformer

        module = VisionTransformer(8, 2, 48, 4, 10, 3, 32)
    else:
        module = BUILT_IN[network].build(10, 3)
    module = module.double()
    for part in module.modules():  # ReLU's kinks would spoil a difference
        if hasattr(part, "relu"):
            part.relu = torch.nn.Softplus()
    traced = trace(module, (3, 32, 32))
    x, y = torch.randn(4, 3, 32, 32).double(), torch.randint(0, 10, (4,))
    weights = [n for n, p in traced.module.named_parameters() if p.dim() > 1]
    chosen = [traced.module.get_parameter(name) for name in weights]
    matrix = Matrix(traced, weights, x, y)
    v = torch.randn(matrix.size, dtype=torch.float64)
    v /= v.norm()

    def slope(step: float) -> torch.Tensor:
        with torch.no_grad():
            for weight, part in zip(chosen, matrix.parts(v), strict=True):
                weight.add_(step * part)
        found = flat([*torch.autograd.grad(functional.cross_entropy(traced.module(x), y), chosen)])
        with torch.no_grad():
            for weight, part in zip(chosen, matrix.parts(v), strict=True):
                weight.sub_(step * part)
        return found

    step = 1e-6
    expected = (slope(step) - slope(-step)) / (2 * step)
    assert float((matrix.product(v) - expected).norm() / expected.norm()) < 1e-4


def test_the_diagonal_is_within_its_standard_errors() -> None:
    traced, weights, x, y = problem("attention")
    found = diagonal(Matrix(traced, weights, x, y), 400)
    truth = full_hessian(traced, weights, x, y).diagonal()
    value, error = (flat([getattr(found[n], part) for n in weights]) for part in ("value", "standard_error"))
    z = (value - truth) / error
    assert float(z.abs().max()) < 5
    assert 0.8 < float(z.square().mean()) < 1.25
