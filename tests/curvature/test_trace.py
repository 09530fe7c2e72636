"""Traces against the full Hessian's, their standard errors against what they claim, and the file."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from edgeprune.curvature.curvature import Curvature, load_curvature, save_curvature
from edgeprune.curvature.layer_gradients import simple_layers
from edgeprune.curvature.piecewise import piecewise_linear
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.errors import EdgepruneError
from edgeprune.model.provenance import provenance
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent
from tests import zoo
from tests.curvature.oracle import NETWORKS, by_channel, full_gauss_newton, full_hessian, problem

SEEDS = 200


@pytest.mark.parametrize(("name", "kind"), [("smooth", "hessian"), ("rectified", "hessian"), ("attention", "ggn")])
def test_over_200_seeds_traces_are_within_4_standard_errors_which_are_calibrated(name: str, kind: str) -> None:
    traced, weights, x, y = problem(name, images=6)
    whole = full_hessian(traced, weights, x, y) if kind == "hessian" else full_gauss_newton(traced, weights, x)
    truth = by_channel(traced, weights, whole.diagonal())
    axes, within, squares, means = dict.fromkeys(weights, 0), 0, [], []
    for seed in range(SEEDS):
        found = channel_traces(traced, axes, x, y, Probing(probes=32, seed=seed, kind=kind), silent)
        layers = torch.stack([found.layer(n).value - truth[n].sum() for n in weights])
        z = layers / torch.stack([found.layer(n).standard_error for n in weights])
        within += bool((z.abs() < 4).all())
        squares.append(z.square())
        means.append(torch.cat([found.trace(n).value - truth[n] for n in weights]))
        total = found.total()
        assert float((total.value - whole.trace()).abs() / total.standard_error) < 5
    assert within >= 0.99 * SEEDS
    # With 31 degrees of freedom the mean square of a t variable is 31 / 29.
    assert 0.8 < float(torch.stack(squares).mean()) < 1.35
    bias = torch.stack(means)
    error = bias.std(0) / SEEDS**0.5
    assert bool((bias.mean(0).abs() <= 4.5 * error).all())  # a channel that no image passes has neither


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_change_nothing(name: str) -> None:
    traced, weights, x, y = problem(name)
    axes = dict.fromkeys(weights, 0)
    whole, parts = (
        channel_traces(traced, axes, x, y, Probing(probes=5, batch_size=size), silent).per_probe for size in (10, 3)
    )
    for weight in weights:
        torch.testing.assert_close(whole[weight], parts[weight])


@pytest.mark.parametrize("name", zoo.ZOO)
def test_on_every_network_of_the_zoo_both_ways_agree(name: str) -> None:
    traced = trace(zoo.build(name), zoo.SHAPE)
    own = dict(traced.module.named_parameters())
    weights = {weight: axis for weight, axis in provenance(traced).weights.items() if weight in own}
    x = torch.randn(8, *zoo.SHAPE)
    y = torch.arange(8) % traced.module(x).shape[1]
    found = channel_traces(traced, weights, x, y, Probing(probes=64), silent)
    products = channel_traces(
        traced, weights, x, y, Probing(probes=64, seed=1), silent, loss=lambda z, t: functional.cross_entropy(z, t)
    )
    assert products.effort is not None
    assert products.effort.by_outputs == 0
    for weight in weights:
        a, b = found.layer(weight), products.layer(weight)
        doubt = (a.standard_error.square() + b.standard_error.square()).sqrt()
        assert float((a.value - b.value).abs()) <= 5 * float(doubt) + 1e-5 * float(b.value.abs()) + 1e-9, weight
    ggn = channel_traces(traced, weights, x, y, Probing(probes=2, kind="ggn"), silent)
    assert all(float(ggn.trace(weight).value.min()) > -1e-3 for weight in weights if weight in _simple(traced))


def _simple(traced: Traced) -> set[str]:
    names = [name for name, _ in traced.module.named_parameters()]
    return {layer.weight for layer in simple_layers(traced, node_shapes(traced), names)}


def test_the_way_follows_from_the_network() -> None:
    ways = {}
    for name in NETWORKS:
        traced, weights, x, y = problem(name, images=4)
        effort = channel_traces(traced, dict.fromkeys(weights, 0), x, y, Probing(probes=2), silent).effort
        assert effort is not None
        ways[name] = effort.by_outputs, effort.by_products
    # The heads of all three and the whole of the rectified network; the weight used twice is not linear in itself.
    assert ways == {"smooth": (1, 2), "attention": (1, 3), "rectified": (4, 0)}


def test_what_is_piecewise_linear() -> None:
    expected = {"Plain": True, "Residual": True, "OptionA": True, "Gate": False, "Depthwise": False}
    for name, linear in expected.items():
        traced = trace(zoo.build(name), zoo.SHAPE)
        first = next(n.name for n in traced.module.graph.nodes if "conv2d" in str(n.target))
        assert piecewise_linear(traced, first) is linear, name


def test_it_stops_when_told_and_reads_back(tmp_path) -> None:
    traced, weights, x, y = problem("smooth")
    axes = dict.fromkeys(weights, 0)
    found = channel_traces(traced, axes, x, y, Probing(probes=100), silent, lambda c: c.probes >= 16)
    assert found.trace("a.weight").samples == 16
    save_curvature(found, tmp_path / "c.safetensors")
    again = load_curvature(tmp_path / "c.safetensors")
    assert (again.images, again.probing, again.effort) == (10, found.probing, found.effort)
    assert all(torch.equal(again.per_probe[n], found.per_probe[n]) for n in weights)


def test_another_file_is_refused(tmp_path) -> None:
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    with pytest.raises(EdgepruneError, match="cannot be read as a curvature"):
        load_curvature(tmp_path / "c.safetensors")


def test_what_is_not_finite_is_refused() -> None:
    traced, weights, x, y = problem("smooth")
    with pytest.raises(EdgepruneError, match="not finite"):
        channel_traces(traced, dict.fromkeys(weights, 0), x * float("nan"), y, Probing(probes=2), silent)


def test_layers_and_totals_are_sums_of_one_probe() -> None:
    found = Curvature({"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([[5.0], [1.0]])}, 8)
    assert float(found.layer("a").value) == 5.0
    assert float(found.total().value) == 8.0
    assert float(found.total().standard_error) == 0.0
