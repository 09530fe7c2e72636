from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeprune.quantization.fake import (
    LIMITS,
    MINIMUM_SCALE,
    ActivationQuantizer,
    BiasQuantizer,
    Codes,
    WeightQuantizer,
    observe,
)


@pytest.mark.parametrize(
    ("codes", "span", "zero"), [("signed", 2.5 / 127, 0), ("unsigned", 2.5 / 255, 0), ("affine", 3.5 / 255, 73)]
)
def test_rounding_and_gradient_are_those_of_torch(codes: Codes, span: float, zero: int) -> None:
    x = (torch.randn(64, 7, 9) * 3).requires_grad_()
    quantizer = ActivationQuantizer(codes)
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(2.5))
    low, high = LIMITS[codes]
    ours, theirs = quantizer(x), torch.fake_quantize_per_tensor_affine(x, float(quantizer.scale()), zero, low, high)
    assert torch.equal(ours, theirs)
    assert float(quantizer.scale()) == pytest.approx(span, rel=1e-6)
    assert quantizer.zero_point() == zero
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 63)])
def test_weights_are_rounded_per_output_channel(bits: int, largest: int) -> None:
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-3, 1, 6).view(-1, 1, 1, 1)
    quantizer = WeightQuantizer(bits, 6)
    scale = quantizer.scale(weight)
    zeros = torch.zeros(6, dtype=torch.int32)
    assert torch.equal(quantizer(weight), torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -128, 127))
    codes = quantizer(weight) / scale.view(-1, 1, 1, 1)
    assert torch.equal(codes.abs().flatten(1).amax(1).round(), torch.full((6,), float(largest)))


def test_a_dead_channel_has_a_positive_scale_and_codes_of_zero() -> None:
    weight = torch.randn(3, 4, 1, 1)
    weight[1] = 0
    quantizer = WeightQuantizer(8, 3)
    assert float(quantizer.scale(weight)[1]) == MINIMUM_SCALE
    assert not quantizer(weight)[1].any()


def test_the_range_starts_with_the_first_batch_then_moves_slowly_and_holds_when_told() -> None:
    quantizer = ActivationQuantizer("signed")
    network = nn.Sequential(quantizer)
    observe(network, True)
    network(torch.tensor([-4.0, 1.0]))
    assert float(quantizer.lower) == -4.0
    network(torch.tensor([2.0]))
    assert float(quantizer.lower) == pytest.approx(0.99 * -4 + 0.01 * 2)
    observe(network, False)
    network(torch.tensor([100.0]))
    assert float(quantizer.lower) == pytest.approx(-3.94)


def test_a_bias_is_a_whole_number_of_units_and_passes_its_gradient() -> None:
    of_input, of_weight = torch.tensor(6.0 / 255), torch.rand(5) / 127 + 1e-3
    bias = torch.randn(5, requires_grad=True)
    rounded = BiasQuantizer()(bias, of_input, of_weight)
    units = (rounded / (of_input * of_weight)).detach()
    assert torch.allclose(units, units.round(), atol=2e-3)
    assert torch.equal(torch.autograd.grad(rounded.sum(), bias)[0], torch.ones(5))


def test_a_bias_too_large_for_int32_stays() -> None:
    bias = torch.tensor([3.0, 3.0])
    rounded = BiasQuantizer()(bias, torch.tensor(1e-3), torch.tensor([MINIMUM_SCALE, 1e-2]))
    assert float(rounded[0]) == 3.0
