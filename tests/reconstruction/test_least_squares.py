"""Least squares on kept weights, against numpy's row by row; SparseGPT against an inverse that is written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.curvature.layer_gradients import simple_layers
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import trace
from edgeprune.reconstruction.least_squares import Moments, Summing, solve_rows
from edgeprune.reconstruction.sparsegpt import BLOCK, DAMPING, sparsegpt
from edgeprune.spec.pattern import parse_pattern
from tests.reconstruction.nets import half


def _layer(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    if kind == "linear":
        return nn.Linear(7, 6, bias=False), (5, 7)
    groups = 2 if kind == "grouped" else 1
    return nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, bias=False), (4, 6, 6)


@pytest.mark.parametrize("kind", ["conv", "grouped", "linear"])
@pytest.mark.parametrize("bias", [False, True])
def test_kept_weights_are_the_least_squares_solution(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    module, shape = _layer(kind)
    traced = trace(module.double().eval(), shape)
    (layer,) = simple_layers(traced, node_shapes(traced), ["weight"])
    x = torch.randn(20, *shape, dtype=torch.float64)
    wanted = torch.randn_like(traced.module(x))
    summing = Summing(layer, bias)
    for part, target in zip(x.split(7), wanted.split(7), strict=True):
        summing.add(part, target)
    weight = traced.module.get_parameter("weight").detach()
    kept = half(weight.shape).flatten(1)
    kept[0] = False  # a row of which nothing stays
    if bias:
        kept = torch.cat([kept, torch.ones(len(kept), 1, dtype=torch.bool)], 1)
    found = solve_rows(summing.moments(), kept, ridge=0.0)
    for row, value in enumerate(found):
        # The row's own problem: what it reads, by pushing unit weights through the layer.
        columns = _columns(traced.module, weight, x, row)
        if bias:
            columns = torch.cat([columns, torch.ones(len(columns), 1, dtype=torch.float64)], 1)
        target = wanted.movedim(-1 if kind == "linear" else 1, 0)[row].reshape(-1)
        best, *_ = np.linalg.lstsq(columns[:, kept[row]].numpy(), target.numpy(), rcond=None)
        np.testing.assert_allclose(value[kept[row]].numpy(), best, rtol=1e-8, atol=1e-10)
        assert not value[~kept[row]].any()


def _columns(module: nn.Module, weight: Tensor, x: Tensor, row: int) -> Tensor:
    """`[positions, K]`: the output of one row for each unit weight."""
    found = []
    for place in range(weight[0].numel()):
        unit = torch.zeros_like(weight)
        unit[row].view(-1)[place] = 1
        y = torch.func.functional_call(module, {"weight": unit}, (x,))
        found.append((y[..., row] if weight.dim() == 2 else y[:, row]).reshape(-1))
    return torch.stack(found, 1).detach()


def test_inputs_that_are_always_zero_do_not_break_it() -> None:
    inputs = torch.eye(4, dtype=torch.float64)[None].clone()
    inputs[0, 3, 3] = 0
    found = solve_rows(Moments(inputs, torch.ones(2, 4, dtype=torch.float64)), torch.ones(2, 4, dtype=torch.bool))
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[:, :3], torch.ones(2, 3, dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("pattern", "zeros"), [("2:4", 0.5), ("1:4", 0.75), ("unstructured", 0.6)])
def test_sparsegpt_equals_optimal_brain_surgeon_column_by_column(pattern: str, zeros: float) -> None:
    torch.manual_seed(1)
    size, form = 16, parse_pattern(pattern)
    weight = torch.randn(5, size, dtype=torch.float64)
    u = torch.randn(200, size, dtype=torch.float64) @ torch.randn(size, size, dtype=torch.float64)
    inputs = (u.T @ u / 200)[None]
    found, mask = sparsegpt(weight, inputs, form, zeros)
    damped = inputs[0] + DAMPING * inputs[0].diagonal().mean() * torch.eye(size, dtype=torch.float64)
    w, kept = weight.clone(), torch.ones_like(mask)
    step = form.group or BLOCK
    for column in range(size):
        inverse = torch.linalg.inv(damped[column:, column:])  # of the columns that may still move
        if column % step == 0:
            end = min(column + step, size)
            whole = [torch.linalg.inv(damped[j:, j:])[0, 0] for j in range(column, end)]
            saliency = w[:, column:end].square() / torch.stack(whole)
            kept[:, column:end] = _highest(saliency, form.kept, zeros)
        error = torch.where(kept[:, column], 0.0, w[:, column]) / inverse[0, 0]
        w[:, column:] -= error[:, None] * inverse[0]
        w[:, column] = torch.where(kept[:, column], w[:, column], 0.0)
    assert torch.equal(mask, kept)
    torch.testing.assert_close(found, w, rtol=1e-8, atol=1e-9)
    assert not found[~mask].any()


def _highest(saliency: Tensor, count: int, zeros: float) -> Tensor:
    if count:
        return saliency >= saliency.sort(1, descending=True).values[:, count - 1 : count]
    gone = math.floor(zeros * saliency.numel())
    return saliency > saliency.flatten().sort().values[gone - 1]


def test_groups_of_a_convolution_run_along_its_input_channels() -> None:
    torch.manual_seed(2)
    weight, u = torch.randn(6, 8, 3, 3), torch.randn(500, 72, dtype=torch.float64)
    found, mask = sparsegpt(weight, (u.T @ u / 500)[None], parse_pattern("2:4"), 0.5)
    assert torch.equal(mask.unflatten(1, (2, 4)).sum(2), torch.full((6, 2, 3, 3), 2))
    assert found.shape == weight.shape
    assert not found[~mask].any()
