"""Single images' squared gradients against loops, and the moments of inputs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from edgeprune.curvature.fisher import fisher_diagonal
from edgeprune.curvature.gram import input_second_moments
from edgeprune.curvature.probing import Probing
from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import trace
from tests.curvature.oracle import NETWORKS, by_channel, flat, full_gauss_newton, problem


@pytest.mark.parametrize("name", NETWORKS)
def test_with_true_labels_it_is_the_mean_of_squares(name: str) -> None:
    traced, _, x, y = problem(name, images=5)
    names = [n for n, _ in traced.module.named_parameters()]
    expected = dict.fromkeys(names, 0.0)
    for image, label in zip(x, y, strict=True):
        chosen = [traced.module.get_parameter(n) for n in names]
        loss = functional.cross_entropy(traced.module(image[None]), label[None])
        for n, gradient in zip(names, torch.autograd.grad(loss, chosen), strict=True):
            expected[n] = expected[n] + gradient.square() / len(x)
    found = fisher_diagonal(traced, names, x, y, Probing(batch_size=3), labels="true")
    for n in names:
        torch.testing.assert_close(found[n].value, expected[n])


def test_with_drawn_labels_it_is_the_gauss_newton_diagonal_within_its_errors() -> None:
    traced, weights, x, y = problem("rectified", images=8)
    draws = 400
    # The same images many times: as many labels drawn for each.
    found = fisher_diagonal(traced, weights, x.repeat(draws, 1, 1, 1), y.repeat(draws))
    truth = full_gauss_newton(traced, weights, x).diagonal()
    value = flat([found[n].value for n in weights])
    # Over draws alone, the images being given, the error is smaller than the stated one over images.
    error = flat([found[n].standard_error for n in weights])
    assert float(((value - truth).abs() / error.clamp_min(1e-12)).max()) < 4.5
    assert found["a.weight"].samples == 8 * draws
    sums = by_channel(traced, weights, value)
    assert float((sums["a.weight"] / by_channel(traced, weights, truth)["a.weight"] - 1).abs().max()) < 0.2


def test_second_moments_are_those_of_the_patches() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2)
    traced = trace(torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(54, 3)), (4, 3, 3))
    x = torch.randn(7, 4, 3, 3)
    found = input_second_moments(traced, ["0.weight", "3.weight"], x, 3)
    patches = functional.unfold(x, 3, padding=1).double().view(7, 2, 18, 9)
    for group in range(2):
        rows = patches[:, group].transpose(1, 2).reshape(-1, 18)
        torch.testing.assert_close(found["0.weight"][group], rows.T @ rows / len(rows))
    read = functional.relu(conv(x)).flatten(1).double().detach()
    torch.testing.assert_close(found["3.weight"][0], read.T @ read / 7)
    with pytest.raises(EdgepruneError, match="no weight of a convolution"):
        input_second_moments(traced, ["0.bias"], x, 3)
