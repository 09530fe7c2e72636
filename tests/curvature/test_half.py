"""Half precision: close to float32, its scale adapting, and nothing lost without a word."""

from __future__ import annotations

import pytest
import torch

from edgeprune.curvature.half import FIRST, Scale
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.progress import silent
from tests.curvature.oracle import NETWORKS, problem


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_it_is_near_single_precision(name: str, kind: str) -> None:
    traced, weights, x, y = problem(name)
    traced.module.float()
    x = x.float()
    v = torch.randn(Matrix(traced, weights, x, y).size, generator=torch.Generator().manual_seed(1))
    single, half = (Matrix(traced, weights, x, y, Probing(precision=p, kind=kind)).product(v) for p in ("fp32", "half"))
    assert half.dtype == torch.float32
    assert 0 < float((half - single).norm() / single.norm()) < 0.1
    axes = dict.fromkeys(weights, 0)
    one, other = (
        channel_traces(traced, axes, x, y, Probing(probes=40, precision=p, kind=kind), silent) for p in ("fp32", "half")
    )
    assert other.probes == 40
    for weight in weights:
        a, b = one.trace(weight), other.trace(weight)
        assert bool(((a.value - b.value).abs() <= 3 * a.standard_error + 0.15 * a.value.abs()).all())


def test_an_overflow_halves_the_scale_and_loses_nothing() -> None:
    scale = Scale(torch.float16)
    exact = torch.tensor([1000.0, 3.0])
    found = scale.finite(lambda s: [(exact * s).half()])
    assert scale.value == FIRST / 4
    assert scale.overflows == 2
    torch.testing.assert_close(found[0], exact)


def test_an_underflow_raises_the_scale_where_that_helps() -> None:
    scale = Scale(torch.float16)
    values = torch.cat([torch.full((80,), 2.0**-35), torch.ones(20)])
    (found,) = scale.finite(lambda s: [(values * s).half()])
    assert scale.underflows == 1
    torch.testing.assert_close(found, values)
    zeros = Scale(torch.float16)
    zeros.finite(lambda s: [torch.zeros(5).half() * s])
    assert (zeros.value, zeros.underflows, zeros.settled) == (FIRST, 0, True)


def test_what_overflows_at_every_scale_is_refused() -> None:
    with pytest.raises(EdgepruneError, match="not finite"):
        Scale(torch.float16).finite(lambda _: [torch.tensor([float("inf")])])
    with pytest.raises(EdgepruneError, match="not finite"):
        Scale().finite(lambda _: [torch.tensor([float("nan")])])


def test_squares_are_divided_by_the_square() -> None:
    scale = Scale(torch.bfloat16)
    (found,) = scale.finite(lambda s: [torch.tensor([3.0]) * s * s], power=2)
    assert float(found) == 3.0
