"""Merging by pairs: down to Optimal Brain Surgeon's compensation, never up, and the released code's rule."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from edgeprune.merging.pairs import Quadratic, constant, pairwise, round_robin, sweep, woodbury

ONE = torch.tensor
FAR = 1e9


def _model(n: int = 60, k: int = 4, seed: int = 0) -> Quadratic:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    v = torch.linalg.qr(drawn(n, k)).Q
    places = torch.randperm(n, generator=generator)
    gone, kept = places[: n // 2].sort().values, places[n // 2 :].sort().values
    rest = torch.rand(n, generator=generator, dtype=torch.float64) + 0.05
    return Quadratic(v, ONE([9.0, 5.0, 2.0, 0.5], dtype=torch.float64)[:k], rest, drawn(n), gone, kept)


def _order(model: Quadratic) -> Tensor:
    return torch.arange(len(model.kept))


def _free(model: Quadratic) -> Tensor:
    return torch.full((len(model.kept),), FAR, dtype=torch.float64)


def _dense(model: Quadratic) -> tuple[Tensor, Tensor]:
    """The Hessian written out, and Optimal Brain Surgeon's compensation by solving with it."""
    h = model.v @ model.values.diag() @ model.v.T + model.rest.diag()
    k, p = model.kept, model.gone
    return h, torch.linalg.solve(h[k][:, k], h[k][:, p] @ model.w[p])


def _true_loss(model: Quadratic, h: Tensor, delta: Tensor) -> float:
    d = torch.zeros_like(model.w)
    d[model.gone], d[model.kept] = -model.w[model.gone], delta
    return float(d @ h @ d / 2)


def test_the_closed_form_is_optimal_brain_surgeons() -> None:
    model = _model()
    h, expected = _dense(model)
    assert torch.allclose(woodbury(model), expected, rtol=1e-10, atol=1e-12)
    assert model.loss(expected) == pytest.approx(_true_loss(model, h, expected), rel=1e-10)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_sweeps_end_at_the_closed_form(block: int) -> None:
    model = _model()
    found = sweep(model, _order(model), _free(model), sweeps=400, block=block)
    assert torch.allclose(found, woodbury(model), rtol=1e-8, atol=1e-10)


def test_one_pair_takes_the_step_that_the_formula_says() -> None:
    model = _model()
    j = int(model.kept[3])
    order = ONE([3])
    found = sweep(model, order, _free(model), sweeps=1, block=1)
    r = model.v[model.gone].T @ model.w[model.gone]
    step = (model.v[j] * model.values) @ r / (model.rest[j] + (model.v[j].square() * model.values).sum())
    assert found[3] == pytest.approx(float(step))
    assert int((found != 0).sum()) == 1


@pytest.mark.parametrize("block", [1, 8, 30])
@pytest.mark.parametrize("bound", [0.02, 0.3, FAR])
def test_no_sweep_raises_the_loss_and_none_leaves_the_bounds(block: int, bound: float) -> None:
    for seed in range(10):
        model = _model(seed=seed)
        bounds = torch.full((len(model.kept),), bound, dtype=torch.float64)
        delta = torch.zeros(len(model.kept), dtype=torch.float64)
        losses = [model.loss(delta)]
        for _ in range(4):
            delta = sweep(model, _order(model), bounds, sweeps=1, block=block, delta=delta)
            losses.append(model.loss(delta))
        assert all(b <= a + 1e-12 for a, b in itertools.pairwise(losses)), losses
        assert float(delta.abs().max()) <= bound * (1 + 1e-12)


def test_partners_are_of_the_same_tensor_and_taken_in_turn() -> None:
    gone, kept = ONE([0, 1, 2, 6, 7]), ONE([3, 4, 5])
    partner = round_robin([6, 2], gone, kept, ONE([2, 0, 1]))
    assert partner.tolist() == [2, 0, 1, -1, -1]


def test_constant_and_pairwise_give_what_they_say() -> None:
    model = _model()
    partner = round_robin([60], model.gone, model.kept, _order(model))
    given = constant(model, partner)
    assert float(given.sum()) == pytest.approx(0.5 * float(model.w[model.gone].sum()))
    one = Quadratic(model.v, model.values, model.rest, model.w, model.gone[:1], model.kept[:1])
    alone = pairwise(one, ONE([0]))
    assert torch.allclose(alone, sweep(one, ONE([0]), ONE([FAR], dtype=torch.float64), sweeps=1))


def test_along_one_direction_a_pair_cancels_the_displacement() -> None:
    model = _model(k=1)
    free = Quadratic(model.v, model.values, 1e-12 * model.rest, model.w, model.gone[:1], model.kept[:1])
    i, j = int(free.gone[0]), int(free.kept[0])
    assert float(pairwise(free, ONE([0]))[0]) == pytest.approx(float(free.w[i] * free.v[i, 0] / free.v[j, 0]), rel=1e-6)
